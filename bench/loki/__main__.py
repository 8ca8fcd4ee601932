"""`python -m bench.loki [PART…]`: crowd, runs, compute, recovery; see bench/harness/command.py."""

from __future__ import annotations

from collections.abc import Sequence

from bench.harness import command
from bench.harness.identities import BenchPki
from bench.harness.machine import ROOT, quick
from bench.harness.mesh import Mesh, running_mesh
from bench.harness.process import free_ports
from bench.harness.results import Metric
from bench.loki import compute, crowd, packages, recovery, runs
from services.loki.model import Language

PARTS = ("crowd", "runs", "compute", "recovery")


async def measure(parts: Sequence[str]) -> list[Metric]:
    """Return the metrics of these parts."""
    found: list[Metric] = []
    rounds = 3 if quick() else 5
    if "crowd" in parts:
        for language in Language:
            metrics = await crowd.measure(language, ROOT / "build" / "bench" / "scheme", quick=quick())
            found += command.show(f"crowd, {language.value}", metrics)
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
            found += command.show("runs", await runs.measure(loki, mesh, rounds, quick=quick()))
        if "compute" in parts:
            found += command.show("compute", await compute.measure(loki, rounds))
        if "recovery" in parts:
            found += command.show("recovery", await recovery.measure(loki, rounds))
    return found


if __name__ == "__main__":
    command.run("loki", PARTS, measure)
