"""Updates: a fleet of agents installs an image through bridge and ota; time until a rollout halts."""
