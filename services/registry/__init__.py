"""The registry: which devices there are, what was agreed with each, and who is connected."""
