"""`python -m bench.ota [PART…]`: fleet, calls, halt, device; all where none is named.

Writes bench/results/ota.json only when all parts were run; a part on its own prints what it found. `calls` measures
`fleet` as well, whose figure it takes half of.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence

import uvloop

from bench.harness import report
from bench.harness.agents import Agents
from bench.harness.identities import BenchPki
from bench.harness.machine import ROOT, pick
from bench.harness.mesh import Mesh, running_mesh
from bench.harness.results import Metric, save
from bench.ota import calls, device, fleet, halt, setup
from bench.ota.fleet import Bench
from bench.ota.setup import CLASS, SLOT

PARTS = ("fleet", "calls", "halt", "device")
_CALLED = 10


async def measure(pki: BenchPki, parts: Sequence[str]) -> list[Metric]:
    """The metrics of those parts."""
    found: list[Metric] = []
    if {"fleet", "calls", "halt"} & set(parts):
        with running_mesh(pki, setup.start) as mesh:
            async with _bench(mesh) as bench:
                if {"fleet", "calls"} & set(parts):
                    metrics, took_s = await fleet.measure(bench)
                    found += _told(metrics)
                if "calls" in parts:
                    async with _called(bench) as (updated, idle):
                        found += _told(await calls.measure(bench, updated, idle, took_s))
                if "halt" in parts:
                    found += _told(await halt.measure(bench.fleet))
    if "device" in parts:
        found += _told(await device.measure())
    return found


@contextlib.asynccontextmanager
async def _bench(mesh: Mesh) -> AsyncIterator[Bench]:
    async with setup.clients(mesh) as clients:
        await clients.trust()
        (mesh.folder / "factory.bin").write_bytes(setup.image_of(64_000))
        with _agents(mesh, "ota", pick(100, 1000), CLASS) as agents:
            await asyncio.to_thread(agents.await_active, 300.0)
            yield Bench(mesh, clients, agents)


@contextlib.asynccontextmanager
async def _called(bench: Bench) -> AsyncIterator[tuple[Agents, Agents]]:
    with (
        _agents(bench.mesh, "called", _CALLED, CLASS) as updated,
        _agents(bench.mesh, "idle", _CALLED, "other") as idle,
    ):
        for agents in (updated, idle):
            await asyncio.to_thread(agents.await_active, 60.0)
        yield updated, idle


@contextlib.contextmanager
def _agents(mesh: Mesh, prefix: str, count: int, device_class: str) -> Iterator[Agents]:
    with setup.flash(count) as flash:
        options = ["--slots", str(flash), "--slot-bytes", str(SLOT), "--ota-root", str(mesh.folder / "1.root")]
        options += ["--factory-image", str(mesh.folder / "factory.bin"), "--device-class", device_class]
        agents = Agents(mesh, prefix, count, *options)
        try:
            yield agents
        finally:
            agents.process.stop()


def _told(metrics: list[Metric]) -> list[Metric]:
    for metric in metrics:
        ratio = "" if metric.ratio is None else f"  ratio {metric.ratio:.3g}"
        verdict = {True: "  met", False: "  MISSED", None: ""}[metric.met]
        print(f"  {metric.key:32} {metric.ours:.4g} {metric.unit}{ratio}{verdict}  {metric.note}", flush=True)
    return metrics


def main(arguments: Sequence[str]) -> None:
    """Builds bench-peer, measures, saves."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended on the way out
    subprocess.run(["make", "-s", "-C", str(ROOT / "bench" / "c")], check=True)
    unknown = set(arguments) - set(PARTS)
    if unknown:
        raise SystemExit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    found = uvloop.run(measure(BenchPki(), arguments or PARTS))
    if not arguments:
        print(save("ota", found))
        report.write()


if __name__ == "__main__":
    main(sys.argv[1:])
