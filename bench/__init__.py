"""Benchmarks: each figure beside what it is compared with. How they are run and what they say: bench/README.md."""
