"""Worker processes, the mesh over gRPC, messages over NATS."""
