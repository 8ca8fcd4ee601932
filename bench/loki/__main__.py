"""`python -m bench.loki [crowd|runs|compute|recovery]`: all by default, and then bench/results/loki.json is written."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import uvloop

from bench.harness import report
from bench.harness.identities import BenchPki
from bench.harness.machine import ROOT, quick
from bench.harness.mesh import Mesh, running_mesh
from bench.harness.process import free_ports
from bench.harness.results import Metric, save
from bench.loki import compute, crowd, packages, recovery, runs
from services.loki.model import Language

PARTS = ("crowd", "runs", "compute", "recovery")


async def measure(parts: Sequence[str]) -> list[Metric]:
    """The metrics of those parts."""
    found: list[Metric] = []
    rounds = 3 if quick() else 5
    if "crowd" in parts:
        for language in Language:
            found += await crowd.measure(language, ROOT / "build" / "bench" / "scheme", quick=quick())
    if {"runs", "compute", "recovery"} & set(parts):
        packages.ensure()
        with running_mesh(BenchPki()) as mesh:
            found += await _on_mesh(mesh, parts, rounds)
    return found


async def _on_mesh(mesh: Mesh, parts: Sequence[str], rounds: int) -> list[Metric]:
    mesh.ports["loki"] = free_ports(1)[0]
    mesh.start_service(
        "loki",
        within_s=60,
        registry_endpoint=f"127.0.0.1:{mesh.ports['registry']}",
        bridge_endpoint=f"127.0.0.1:{mesh.ports['jotunheim_bridge']}",
        data_dir=str(ROOT / "build" / "bench" / "scheme"),
    )
    found: list[Metric] = []
    async with mesh.channel("loki") as loki:
        if "runs" in parts:
            found += await runs.measure(loki, mesh, rounds, quick=quick())
        if "compute" in parts:
            found += await compute.measure(loki, rounds)
        if "recovery" in parts:
            found += await recovery.measure(loki, rounds)
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
