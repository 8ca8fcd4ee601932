"""Shared parts of the benchmarks: result format, alternating rounds, processes, identities, a mesh."""
