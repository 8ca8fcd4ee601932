"""The registry's ports on real things: JetStream key-value buckets, an SQLite index, NATS events."""
