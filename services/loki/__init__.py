"""Loki: runs Lua and Scheme in worker processes and lets them reach devices through the mesh."""
