"""Benchmarks: each figure beside a peer. bench/README.md explains how to run them and what they measure."""
