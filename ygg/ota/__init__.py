"""Offline part of OTA updates: keys and signed files. Local only; the commands are in ygg.cli.ota."""
