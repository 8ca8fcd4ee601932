"""Object stores and the disk cache in front of them."""
