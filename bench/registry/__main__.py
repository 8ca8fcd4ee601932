"""`python -m bench.registry [PART…]`: index, find, register, twin; see bench/harness/command.py."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from bench.harness import command
from bench.harness.identities import BenchPki
from bench.harness.machine import pick
from bench.harness.mesh import Mesh, running_mesh
from bench.harness.results import Metric
from bench.registry import find, index, postgres, register, twin
from bench.registry.fill import fill, writes
from bench.registry.fleet import Entry, Stored, devices
from yggdrasil.registry.v1 import registry_pb2_grpc

PARTS = ("index", "find", "register", "twin")


async def measure(parts: Sequence[str]) -> list[Metric]:
    """Measure the selected parts."""
    pki, stored = BenchPki(), Stored()
    fleet = list(devices(pick(100_000, 1_000_000)))
    found: list[Metric] = []
    with running_mesh(pki, _start) as mesh:
        empty_kb = mesh.running["registry"].rss_kb()
        mesh.running["registry"].stop()
        _step(f"filling the streams with {len(fleet):,} devices")
        fill(mesh.nats_url, pki.files("service", "registry").client_context(), writes(fleet, stored))
        _step("starting the registry")
        index.start(mesh)
        if "index" in parts:
            found += command.show("index", index.measure(mesh, len(fleet), empty_kb))
        async with mesh.channel("registry") as channel:
            registry: Any = registry_pb2_grpc.RegistryServiceStub(channel)
            if "find" in parts:
                found += command.show("find", await _find(registry, fleet, stored))
            if "register" in parts:
                found += command.show("register", await register.measure(registry, mesh.running["registry"]))
        if "twin" in parts:
            found += command.show("twin", await twin.measure(mesh))
    return found


def _start(mesh: Mesh) -> None:
    mesh.start_nats()
    index.start(mesh)


async def _find(registry: Any, fleet: list[Entry], stored: Stored) -> list[Metric]:
    with postgres.server() as folder:
        async with postgres.connected(folder) as peer:
            _step("filling PostgreSQL")
            await peer.load(fleet, stored)
            return await find.measure(registry, peer, fleet, stored)


def _step(what: str) -> None:
    print(f"  {time.strftime('%H:%M:%S')} {what}", flush=True)


if __name__ == "__main__":
    command.run("registry", PARTS, measure)
