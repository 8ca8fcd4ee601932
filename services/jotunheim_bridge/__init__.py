"""The bridge: holds the device sessions, negotiates capabilities, routes calls and events."""
