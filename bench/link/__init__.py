"""`make bench-link`: the bridge compared with a broker, a bare relay and a gRPC echo."""
