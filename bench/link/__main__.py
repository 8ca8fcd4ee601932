"""`python -m bench.link [PART…]`: connect, calls, load, events, crowd; all where none is named.

Writes bench/results/link.json only when all parts were run; a part on its own prints what it found.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import uvloop

from bench.harness import report
from bench.harness.identities import BenchPki
from bench.harness.machine import ROOT
from bench.harness.mesh import Mesh, running_mesh
from bench.harness.results import Metric, save
from bench.link import calls, connect, crowd, events, load

_RAMP_SHARE, _LEAST_RAMP = 0.6, 50
Part = Callable[[Mesh], Awaitable[list[Metric]]]


async def _crowd(mesh: Mesh, found: Sequence[Metric]) -> list[Metric]:
    rates = [metric.ours for metric in found if metric.key == "connect_rate" and metric.ours]
    return await crowd.measure(mesh, max(_LEAST_RAMP, int(_RAMP_SHARE * (rates[0] if rates else 200))))


async def measure(pki: BenchPki, parts: Sequence[str]) -> list[Metric]:
    """The metrics of those parts. The crowd comes with a mesh of its own, since it kills the bridge."""
    steps: dict[str, Part] = {
        "connect": connect.measure,
        "calls": calls.measure,
        "load": load.measure,
        "events": events.measure,
    }
    found: list[Metric] = []
    with running_mesh(pki) as mesh:
        for name in [name for name in steps if name in parts]:
            found += _told(name, time.monotonic(), await steps[name](mesh))
    if "crowd" in parts:
        with running_mesh(pki) as mesh:
            found += _told("crowd", time.monotonic(), await _crowd(mesh, found))
    return found


def _told(name: str, started: float, metrics: list[Metric]) -> list[Metric]:
    print(f"{name}", flush=True)
    for metric in metrics:
        ratio = "" if metric.ratio is None else f"  ratio {metric.ratio:.3g}"
        ours = "not measured" if metric.ours is None else f"{metric.ours:.4g} {metric.unit}"
        verdict = {True: "  met", False: "  MISSED", None: ""}[metric.met]
        print(f"  {metric.key:32} {ours}{ratio}{verdict}  {metric.note}", flush=True)
    return metrics


def main(arguments: Sequence[str]) -> None:
    """Builds bench-peer, measures, saves."""
    logging.basicConfig(level=logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended on the way out
    subprocess.run(["make", "-s", "-C", str(ROOT / "bench" / "c")], check=True)
    every = ("connect", "calls", "load", "events", "crowd")
    unknown = set(arguments) - set(every)
    if unknown:
        raise SystemExit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    found = uvloop.run(measure(BenchPki(), arguments or every))
    if not arguments:
        print(save("link", found))
        report.write()


if __name__ == "__main__":
    main(sys.argv[1:])
