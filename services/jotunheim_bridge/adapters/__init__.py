"""Adapters of the bridge: TLS listener, registry client, key-value buckets, event stream, router over NATS."""
