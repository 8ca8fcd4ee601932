"""The command line of a benchmark: `python -m bench.NAME [PART…]`; all parts by default.

Writes bench/results/NAME.json only if all parts ran; single parts only print their figures.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence

import uvloop

from bench.harness import report
from bench.harness.machine import ROOT
from bench.harness.process import BenchError
from bench.harness.results import Metric, save

Measure = Callable[[Sequence[str]], Awaitable[list[Metric]]]


def run(name: str, parts: Sequence[str], measure: Measure, *, clients_in_c: bool = False) -> None:
    """Measure the selected parts, and save the result if they are all.

    `clients_in_c` builds bench-peer first. An error is one line on standard error and exit status 1.
    """
    logging.basicConfig(level=logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # exit handlers stop the started processes
    chosen = sys.argv[1:] or parts
    if unknown := set(chosen) - set(parts):
        raise SystemExit(f"unknown part: {', '.join(sorted(unknown))}; available: {', '.join(parts)}")
    try:
        if clients_in_c:
            subprocess.run(["make", "-s", "-C", str(ROOT / "bench" / "c")], check=True)
        found = uvloop.run(_measured(measure, chosen))
    except BenchError as e:
        raise SystemExit(f"bench-{name}: {e}") from None
    if set(chosen) == set(parts):
        print(save(name, found))
        report.write()


async def _measured(measure: Measure, parts: Sequence[str]) -> list[Metric]:
    return await measure(parts)


def show(title: str, metrics: list[Metric]) -> list[Metric]:
    """Print a line for each metric and return them."""
    print(title, flush=True)
    for metric in metrics:
        ratio = "" if metric.ratio is None else f"  ratio {metric.ratio:.3g}"
        ours = "not measured" if metric.ours is None else f"{metric.ours:.4g} {metric.unit}"
        verdict = {True: "  met", False: "  MISSED", None: ""}[metric.met]
        print(f"  {metric.key:32} {ours}{ratio}{verdict}  {metric.note}", flush=True)
    return metrics
