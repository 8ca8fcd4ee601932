"""The pure core: ids, values, capabilities, contracts and their rules. No I/O; imports no other package."""
