"""The bridge's ports on real things: the TLS listener, the registry, key-value buckets and the event stream."""
