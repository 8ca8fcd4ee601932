"""The I/O every service shares: settings, logs, telemetry, identities, gRPC, NATS. Imports no service."""
