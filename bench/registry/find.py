"""find_*: a hundred devices by capability, ordered by id; ours and PostgreSQL alternately from one client."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

from bench.harness.compare import alone, alternate, compared, percentile
from bench.harness.machine import pick, rounds
from bench.harness.process import BenchError
from bench.harness.results import Metric
from bench.registry.fleet import RARE_TYPE, UNKNOWN_TYPE, Entry, Stored
from bench.registry.postgres import Peer
from yggdrasil.registry.v1 import registry_pb2 as pb

COMMON_TYPE = "sensor.a"
PAGE = 100
PEER = "PostgreSQL JSONB + GIN"
_KINDS = {"common": COMMON_TYPE, "rare": RARE_TYPE, "none": UNKNOWN_TYPE}
Find = Callable[[str, str], Awaitable[list[str]]]


def queries() -> int:
    """Return the number of queries per round."""
    return pick(400, 2000)


async def measure(registry: Any, peer: Peer, fleet: list[Entry], stored: Stored) -> list[Metric]:
    """Measure the three kinds; the results of both sides are first compared with the fleet."""

    async def ours(semantic_type: str, after: str) -> list[str]:
        answer = await registry.FindDevices(
            pb.FindDevicesRequest(has=[semantic_type], page_token=after, page_size=PAGE)
        )
        return [device.id for device in answer.devices]

    async def theirs(semantic_type: str, after: str) -> list[str]:
        return [document["id"] for document in await peer.find(semantic_type, after, PAGE)]

    async def by_array(semantic_type: str, after: str) -> list[str]:
        return [document["id"] for document in await peer.find_by_array(semantic_type, after, PAGE)]

    found, worst, n = list[Metric](), list[float](), queries() * rounds()
    for kind, semantic_type in _KINDS.items():
        all_sides = ours, theirs, by_array
        await _check(semantic_type, fleet, stored, *all_sides)
        starts = _starts(kind)
        mine, jsonb, array = await alternate(rounds(), *(_timed(side, semantic_type, starts) for side in all_sides))
        note = f"{len(_matching(semantic_type, fleet, stored))} devices match, pages of {PAGE}"
        facts: list[tuple[str, list[float], str, float | None]] = [
            (f"find_{kind}_p99", jsonb, PEER, 1.0),
            (f"find_{kind}_p99_vs_array", array, "PostgreSQL text[] + GIN", None),
        ]
        found += [
            compared(key, mine, side, peer_name=name, unit="ms", better="lower", target=target, n=n, note=note)
            for key, side, name, target in facts
        ]
        worst = mine if not worst or median(mine) > median(worst) else worst
    found.append(alone("find_p99_ms", worst, unit="ms", better="lower", target=10, n=n))
    return found


def _starts(kind: str) -> list[str]:
    """Return the start of each page: random for the common type, the beginning if there is at most one page."""
    rng = random.Random(99)
    return [f"{rng.getrandbits(64):016x}" if kind == "common" else "" for _ in range(queries())]


def _timed(find: Find, semantic_type: str, starts: list[str]) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        for after in starts[:20]:
            await find(semantic_type, after)
        took = []
        for after in starts:
            started = time.perf_counter_ns()
            await find(semantic_type, after)
            took.append((time.perf_counter_ns() - started) / 1e6)
        return percentile(sorted(took), 0.99)

    return run


def _matching(semantic_type: str, fleet: list[Entry], stored: Stored) -> list[str]:
    able = {n for n, one in enumerate(stored.contracts) if any(c.type == semantic_type for c in one.capabilities)}
    return sorted(entry.record.id for entry in fleet if entry.contract in able)


async def _check(semantic_type: str, fleet: list[Entry], stored: Stored, *sides: Find) -> None:
    expected = _matching(semantic_type, fleet, stored)
    for after in ("", "5", "c"):
        page = [name for name in expected if name > after][:PAGE]
        for side in sides:
            found = await side(semantic_type, after)
            if found != page:
                raise BenchError(f"{semantic_type} after {after!r}: {len(found)} devices, expected {len(page)} others")
