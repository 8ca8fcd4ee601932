"""Rollouts while the wall clock is stepped, and after ota was started again with another one."""

from __future__ import annotations

from dataclasses import replace

from services.chassis.clock import SteadyTime
from services.ota.model import rollout as rules
from services.ota.model.rollout import Rollout, RolloutState, Spec, Wave
from tests.fakes.ota_world import World

HOUR = 3600.0


def test_steady_time_ignores_wall_clock_steps() -> None:
    wall, since = 1_000_000.0, 50.0
    steady = SteadyTime(lambda: wall, lambda: since)
    assert steady() == wall
    wall, since = wall - HOUR, since + 10
    assert steady() == 1_000_010.0


def test_soak_that_began_in_the_future_begins_again() -> None:
    spec = Spec("release", "", waves=(Wave(count=1), Wave(percent=100)), soak_s=600)
    soaking = replace(Rollout("r-1", spec, 0.0), state=RolloutState.SOAKING, soak_from_unix_s=10 * HOUR)
    first = rules.step(soaking, [], HOUR)
    assert (first.rollout.state, first.rollout.soak_from_unix_s) == (RolloutState.SOAKING, HOUR)
    assert rules.step(first.rollout, [], HOUR + 599).rollout.state is RolloutState.SOAKING
    assert rules.step(first.rollout, [], HOUR + 600).rollout.state is not RolloutState.SOAKING


async def test_future_start_counts_from_first_sight() -> None:
    world = World()
    release = await world.release(2)
    await world.device("d-1")
    rollout = await world.start(release, device_timeout_s=600)
    await world.rounds()
    world.clock -= 10 * HOUR  # and ota restarts with only its stored state
    await world.rounds()
    world.clock += 500
    await world.rounds()
    assert world.stage("d-1").active
    world.clock += 200
    await world.rounds()
    assert not world.stage("d-1").active, rollout
