"""`python -m bench.loki [crowd|runs]`: all where none is named. Writes bench/results/loki.json when all was run."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import uvloop

from bench.harness import report
from bench.harness.identities import BenchPki
from bench.harness.machine import ROOT, quick
from bench.harness.mesh import running_mesh
from bench.harness.results import Metric, save
from bench.loki import crowd, runs
from services.loki.model import Language

PARTS = ("crowd", "runs")


async def measure(parts: Sequence[str]) -> list[Metric]:
    """The metrics of those parts."""
    found: list[Metric] = []
    if "crowd" in parts:
        for language in Language:
            found += await crowd.measure(language, ROOT / "build" / "bench" / "scheme", quick=quick())
    if "runs" in parts:
        with running_mesh(BenchPki()) as mesh:
            found += await runs.measure(mesh, quick=quick())
    return found


def main(arguments: Sequence[str]) -> None:
    """All parts, or those named."""
    parts = arguments or PARTS
    found = uvloop.run(measure(parts))
    for metric in found:
        ratio = "" if metric.ratio is None else f"  ratio {metric.ratio:.3g}"
        verdict = {True: "  met", False: "  MISSED", None: ""}[metric.met]
        print(f"  {metric.key:32} {metric.ours:.4g} {metric.unit}{ratio}{verdict}  {metric.note}", flush=True)
    if set(parts) == set(PARTS):
        save("loki", found)
        report.write()


if __name__ == "__main__":
    main(sys.argv[1:])
