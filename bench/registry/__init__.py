"""The registry at a million devices: finding, rebuilding, registering; beside PostgreSQL where there is a peer."""
