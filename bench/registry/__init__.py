"""The registry at a million devices: find, rebuild, register; compared with PostgreSQL."""
