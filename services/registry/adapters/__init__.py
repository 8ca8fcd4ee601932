"""Adapters of the registry's ports: JetStream key-value buckets, an SQLite index, NATS events."""
