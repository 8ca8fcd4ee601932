"""OTA: firmware images, releases and rollouts."""
