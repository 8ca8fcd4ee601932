"""`python -m bench.ota [PART…]`: fleet, calls, halt, device; see bench/harness/command.py.

`calls` also runs `fleet`, since its rate is half of that figure.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence

from bench.harness import command
from bench.harness.agents import Agents
from bench.harness.identities import BenchPki
from bench.harness.machine import pick
from bench.harness.mesh import Mesh, running_mesh
from bench.harness.results import Metric
from bench.ota import calls, device, fleet, halt, setup
from bench.ota.fleet import Bench
from bench.ota.setup import CLASS, SLOT

PARTS = ("fleet", "calls", "halt", "device")
_CALLED = 10


async def measure(parts: Sequence[str]) -> list[Metric]:
    """Measure the selected parts."""
    found: list[Metric] = []
    if {"fleet", "calls", "halt"} & set(parts):
        with running_mesh(BenchPki(), setup.start) as mesh:
            async with _bench(mesh) as bench:
                if {"fleet", "calls"} & set(parts):
                    metrics, took_s = await fleet.measure(bench)
                    found += command.show("fleet", metrics)
                if "calls" in parts:
                    async with _called(bench) as (updated, idle):
                        found += command.show("calls", await calls.measure(bench, updated, idle, took_s))
                if "halt" in parts:
                    found += command.show("halt", await halt.measure(bench.fleet))
    if "device" in parts:
        found += command.show("device", await device.measure())
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


if __name__ == "__main__":
    command.run("ota", PARTS, measure, clients_in_c=True)
