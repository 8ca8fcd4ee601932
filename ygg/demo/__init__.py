"""`make demo`: the main job on an embedded mesh of its own, with real devices, measured."""
