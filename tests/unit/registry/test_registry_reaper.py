"""Which bridges count as dead, whatever NATS makes of its clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from services.chassis.buckets import BRIDGE_LEASE_S
from services.chassis.errors import StoreFullError
from services.chassis.kv import Entry
from services.registry.adapters.reaper import Reaper


@dataclass
class World:
    """One bridge with sessions; `asked` are the times at which they were to be ended."""

    now_s: float = 100.0
    lease: int | None = 1
    full: bool = False
    asked: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.now_s

    async def online_bridges(self) -> list[str]:
        return ["b1"]

    async def sessions_of(self, bridge_id: str, limit: int) -> list[str]:
        self.asked.append(self.now_s)
        if self.full:
            raise StoreFullError("full")
        return []

    async def get(self, key: str) -> Entry | None:
        return None if self.lease is None else Entry(key, b"", self.lease)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def reaper(world: World) -> Reaper:
    anything: Any = world
    return Reaper(anything, anything, anything, anything, anything, lambda: 1e9)


async def sweep(world: World, reaper: Reaper, seconds: float) -> None:
    for _ in range(round(seconds)):
        await reaper.sweep()
        world.now_s += 1


async def test_bridge_lives_while_it_renews_although_its_key_vanishes(world: World, reaper: Reaper) -> None:
    for revision in range(1, 20):
        world.lease = revision
        await sweep(world, reaper, 1)
        world.lease = None  # the clock of NATS was stepped forward
        await sweep(world, reaper, 1)
    assert world.asked == []


async def test_bridge_without_renewal_is_dead_despite_its_key(world: World, reaper: Reaper) -> None:
    await sweep(world, reaper, BRIDGE_LEASE_S + 1)  # the clock of NATS was stepped back
    assert world.asked == []
    await sweep(world, reaper, 1)
    assert world.asked == [100.0 + BRIDGE_LEASE_S + 1]


async def test_bridge_that_was_never_seen_has_a_whole_lease(world: World, reaper: Reaper) -> None:
    world.lease = None
    await sweep(world, reaper, BRIDGE_LEASE_S + 1)
    assert world.asked == []
    await sweep(world, reaper, 1)
    assert world.asked
