"""`python -m bench.registry [PART…]`: index, find, register, twin; all where none is named.

Writes bench/results/registry.json only when all parts were run; a part on its own prints what it found.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

import uvloop

from bench.harness import report
from bench.harness.identities import BenchPki
from bench.harness.machine import pick
from bench.harness.mesh import Mesh, running_mesh
from bench.harness.results import Metric, save
from bench.registry import find, index, postgres, register, twin
from bench.registry.fill import fill, writes
from bench.registry.fleet import Entry, Stored, devices
from yggdrasil.registry.v1 import registry_pb2_grpc

PARTS = ("index", "find", "register", "twin")


async def measure(pki: BenchPki, parts: Sequence[str]) -> list[Metric]:
    """The metrics of those parts."""
    stored = Stored()
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
            found += _told("index", index.measure(mesh, len(fleet), empty_kb))
        async with mesh.channel("registry") as channel:
            registry: Any = registry_pb2_grpc.RegistryServiceStub(channel)
            if "find" in parts:
                found += _told("find", await _find(registry, fleet, stored))
            if "register" in parts:
                found += _told("register", await register.measure(registry, mesh.running["registry"]))
        if "twin" in parts:
            found += _told("twin", await twin.measure(mesh))
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


def _told(name: str, metrics: list[Metric]) -> list[Metric]:
    print(f"{name}", flush=True)
    for metric in metrics:
        ratio = "" if metric.ratio is None else f"  ratio {metric.ratio:.3g}"
        ours = "not measured" if metric.ours is None else f"{metric.ours:.4g} {metric.unit}"
        verdict = {True: "  met", False: "  MISSED", None: ""}[metric.met]
        print(f"  {metric.key:24} {ours}{ratio}{verdict}  {metric.note}", flush=True)
    return metrics


def main(arguments: Sequence[str]) -> None:
    """Measures, saves."""
    logging.basicConfig(level=logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended on the way out
    unknown = set(arguments) - set(PARTS)
    if unknown:
        raise SystemExit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    found = uvloop.run(measure(BenchPki(), arguments or PARTS))
    if not arguments:
        print(save("registry", found))
        report.write()


if __name__ == "__main__":
    main(sys.argv[1:])
