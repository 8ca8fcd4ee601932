"""Updates: a fleet of agents takes an image through bridge and ota; how soon a rollout halts."""
