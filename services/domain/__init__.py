"""The pure heart: ids, values, capabilities, contracts and the rules on them. No I/O; imports nothing else of ours."""
