"""`make bench-link`: the bridge beside a broker, a bare relay and a gRPC echo."""
