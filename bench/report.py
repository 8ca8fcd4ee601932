"""`python -m bench.report`: write bench/RESULTS.md from all results."""

from __future__ import annotations

from bench.harness import report

if __name__ == "__main__":
    print(report.write())
