"""The registry: known devices, their contracts and twins, and their presence."""
