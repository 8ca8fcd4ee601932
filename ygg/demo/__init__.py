"""`make demo`: an end-to-end run on a private embedded mesh with two simulated devices, with measurements."""
