"""Registered scripts: kept under names, served as typed RPCs, followed by every replica."""
