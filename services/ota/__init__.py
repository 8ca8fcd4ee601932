"""OTA: firmware images, content-addressed; releases and rollouts are to come."""
