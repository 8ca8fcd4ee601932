"""The bridge: owns the device sessions, negotiates capabilities, routes calls and events."""
