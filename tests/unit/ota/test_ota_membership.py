"""Who is in a rollout, and what holds for it: through labels that change, breaks, aborts, halts and later rollouts."""

from __future__ import annotations

from typing import Any

import pytest

from services.chassis.errors import RemoteError
from services.ota.errors import NothingToUpdateError, RolloutStateError
from services.ota.model import rollout as rules
from services.ota.model import update as updates
from services.ota.model.rollout import Counts, RolloutState, Wave
from services.ota.model.update import LastUpdate, Outcome, Reason, Stage, State
from tests.fakes.ota_keys import image_of
from tests.fakes.ota_world import World


@pytest.fixture
async def world() -> World:
    """Two devices in the hall, on release 1."""
    found = World()
    for name in ("d-1", "d-2"):
        await found.device(name)
    return found


def partly(world: World, name: str) -> LastUpdate:
    return LastUpdate(world.update(name).id, Outcome.PENDING, Reason.UNSPECIFIED)


@pytest.mark.parametrize("relabelled", [False, True])
@pytest.mark.parametrize("begun", [False, True])
async def test_abort_holds_for_a_device_that_was_away(world: World, relabelled: bool, begun: bool) -> None:
    rollout = await world.start(await world.release(2))
    await world.rounds()
    if begun:
        await world.loads("d-1")
    world.goes("d-1")
    if relabelled:
        world.registry.zones["d-1"] = "attic"
    await world.abort(rollout)
    await world.rounds()
    state = State.PARTIAL if begun else State.IDLE
    assert (await world.comes("d-1", partly(world, "d-1"), state=state)).offer is None
    await world.rounds()
    assert (await world.says("d-1")).offer is None
    assert (world.stage("d-1"), world.update("d-1").why) == (Stage.STOPPED, "the rollout was aborted")
    view = await world.rollouts.get(rollout)
    assert view.rollout.final == Counts(stopped=2)


async def test_abort_holds_before_the_conductor_knows_of_it(world: World) -> None:
    rollout = await world.start(await world.release(2))
    await world.rounds()
    await world.abort(rollout)
    answer = await world.says("d-1")
    assert (answer.offer, answer.abort) == (None, world.update("d-1").id)
    assert world.stage("d-1") is Stage.STOPPED


async def test_a_device_that_is_to_stop_is_offered_nothing(world: World) -> None:
    """The conductor stops it between the look at its record and the offer."""
    await world.start(await world.release(2))
    await world.rounds()
    await world.loads("d-1")
    before = world.releases.stamp

    def stamp(*words: Any, **more: Any) -> bytes:
        row = world.devices.held["d-1"]
        world.devices._write("d-1", updates.stopping(row.value, "the rollout was aborted"))
        return before(*words, **more)

    world.releases.stamp = stamp  # type: ignore[method-assign]
    assert (await world.comes("d-1", partly(world, "d-1"), state=State.PARTIAL)).offer is None


async def test_abort_needs_no_registry(world: World) -> None:
    rollout = await world.start(await world.release(2))
    await world.rounds()
    update = await world.loads("d-1")
    world.registry.away = True
    view = await world.abort(rollout)
    assert (view.rollout.state, view.counts.downloading) == (RolloutState.ABORTED, 2)
    await world.rounds()
    answer = await world.relay.progress("d-1", update.id, 4000)
    assert answer.abort == update.id
    with pytest.raises(RemoteError):
        await world.rollouts.get(rollout)
    world.registry.away = False
    await world.relay.result("d-1", update.id, Outcome.FAILED, Reason.ABORTED, "")
    await world.rounds()
    assert (await world.rollouts.get(rollout)).rollout.final == Counts(stopped=2)


async def test_unavailable_registry_does_not_halt_rollout(world: World) -> None:
    """One of two devices has failed, the limit is half of all: known only by their number."""
    for name in ("d-3", "d-4"):
        await world.device(name, online=False)
    rollout = await world.start(await world.release(2), halt_percent=50)
    await world.rounds()
    update = await world.loads("d-1")
    await world.relay.result("d-1", update.id, Outcome.REVERTED, Reason.SELF_TEST, "")
    world.registry.away = True
    await world.rounds()
    assert (world.state(rollout), world.stage("d-2")) == (RolloutState.RUNNING, Stage.ASSIGNED)


async def test_a_rollout_that_fails_holds_up_no_other(world: World, caplog: pytest.LogCaptureFixture) -> None:
    release = await world.release(2)
    broken = rules.Rollout("r-broken", rules.Spec("gone"), world.clock)
    await world.table.create(broken.id, broken)
    await world.start(release)
    await world.rounds()
    assert world.stage("d-1") is Stage.ASSIGNED
    assert [r.message for r in caplog.records].count("rollout delayed") == 1  # and not one for each round


async def test_device_loading_an_ended_update_is_stopped(world: World) -> None:
    await world.start(await world.release(2), device_timeout_s=60, halt_count=9)
    await world.rounds()
    update = await world.loads("d-1")
    world.clock += 61
    await world.rounds()
    assert world.stage("d-1") is Stage.TIMED_OUT
    assert (await world.relay.progress("d-1", update.id, 4000)).abort == update.id
    assert (await world.relay.accept("d-1", update.id, 0, delta=False)).abort == update.id


async def test_timed_out_device_joins_next_rollout_of_release(world: World) -> None:
    release = await world.release(2)
    first = await world.start(release, device_timeout_s=60, halt_count=1)
    await world.rounds()
    world.clock += 61
    await world.rounds()
    counts = (await world.rollouts.get(first)).counts
    assert (counts.timed_out, counts.failed, counts.reverted) == (2, 0, 0)
    _, unfit = await world.rollouts.start(rules.Spec(release), dry_run=True)
    assert unfit == []


async def test_reverted_device_skips_next_rollout_of_release(world: World) -> None:
    release = await world.release(2)
    await world.start(release, halt_count=1)
    await world.rounds()
    update = await world.loads("d-1")
    await world.relay.result("d-1", update.id, Outcome.REVERTED, Reason.SELF_TEST, "")
    _, unfit = await world.rollouts.start(rules.Spec(release), dry_run=True)
    assert [c.unfit for c in unfit] == ["it reverted from or refused this release before"]
    _, unfit = await world.rollouts.start(rules.Spec(release, retry_failed=True), dry_run=True)
    assert unfit == []


@pytest.mark.parametrize("relabelled", [False, True])
async def test_resume_after_a_halt_gives_stopped_devices_their_update(world: World, relabelled: bool) -> None:
    rollout = await world.start(await world.release(2), halt_count=1)
    await world.rounds()
    first, second = await world.loads("d-1"), await world.loads("d-2")
    await world.relay.result("d-1", first.id, Outcome.REVERTED, Reason.SELF_TEST, "")
    await world.rounds()
    assert world.state(rollout) is RolloutState.HALTED
    world.goes("d-2")
    if relabelled:  # it is a member by its record
        world.registry.zones["d-2"] = "attic"
    await world.resume(rollout)
    await world.comes("d-2", partly(world, "d-2"), state=State.PARTIAL)
    await world.rounds()
    assert (world.state(rollout), world.update("d-2").id != second.id) == (RolloutState.RUNNING, True)
    assert (await world.says("d-2")).offer is not None
    await world.confirms("d-2", 2)
    await world.rounds()
    assert (await world.rollouts.get(rollout)).rollout.final == Counts(confirmed=1, reverted=1)


async def test_stopped_offline_device_is_no_failure_after_resume(world: World) -> None:
    rollout = await world.start(await world.release(2), halt_count=1, device_timeout_s=60)
    await world.rounds()
    first = await world.loads("d-1")
    await world.loads("d-2")
    world.goes("d-2")
    await world.relay.result("d-1", first.id, Outcome.REVERTED, Reason.SELF_TEST, "")
    await world.rounds()
    await world.resume(rollout)
    world.clock += 61
    await world.rounds()
    counts = (await world.rollouts.get(rollout)).counts
    assert (world.state(rollout), counts.waiting, counts.failures) == (RolloutState.RUNNING, 1, 1)


async def test_device_relabelled_before_start_is_not_started(world: World) -> None:
    rollout = await world.start(await world.release(2), waves=(Wave(count=1), Wave(percent=100)), soak_s=60)
    await world.rounds()
    other = next(c.device_id for c in await world.fleet.candidates(world.table.held[rollout].value) if not c.update)
    world.registry.zones[other] = "attic"
    await world.confirms({"d-1": "d-2", "d-2": "d-1"}[other], 2)
    await world.rounds()
    world.clock += 61
    await world.rounds()
    assert (await world.rollouts.get(rollout)).rollout.final == Counts(confirmed=1)


@pytest.mark.parametrize("late", [False, True])
async def test_a_device_that_comes_to_match_waits_without_late_joiners(world: World, late: bool) -> None:
    await world.device("d-3", "attic")
    rollout = await world.start(await world.release(2), late_joiners=late)
    await world.rounds()
    world.registry.zones["d-3"] = "hall"
    await world.device("d-4")
    await world.rounds()
    for name in ("d-3", "d-4"):
        row = world.devices.get(name)
        assert row
        assert (row.value.update is not None) is late
    assert (await world.rollouts.get(rollout)).counts.late == (0 if late else 2)


async def test_the_scope_outlives_the_replica(world: World) -> None:
    rollout = await world.start(await world.release(2))
    world.fleet._scopes.clear()  # as in another replica, or after a restart
    await world.device("d-3")
    await world.rounds()
    assert (await world.rollouts.get(rollout)).counts.late == 1


async def test_a_late_joiner_with_something_newer_is_left_alone(world: World) -> None:
    release = await world.release(2)
    rollout = await world.start(release, late_joiners=True)
    await world.rounds()
    await world.device("d-3")
    await world.says("d-3", image=image_of("v3"), sequence=3)
    await world.rounds()
    counts = (await world.rollouts.get(rollout)).counts
    assert (counts.unfit, counts.waiting) == (1, 0)


@pytest.mark.parametrize("end", ["done", "aborted"])
async def test_a_finished_rollout_is_a_record(world: World, end: str) -> None:
    first = await world.start(await world.release(2))
    await world.rounds()
    await world.confirms("d-1", 2)
    await (world.confirms("d-2", 2) if end == "done" else world.abort(first))
    await world.rounds()
    before, devices = await world.rollouts.get(first), await world.rollouts.updates(first)
    assert before.rollout.final == (Counts(confirmed=2) if end == "done" else Counts(confirmed=1, stopped=1))
    assert [each.written_bytes for each in devices if each.stage is Stage.CONFIRMED] == [5000] * before.counts.confirmed
    second = await world.start(await world.release(3))
    await world.rounds()
    for name in ("d-1", "d-2"):
        await world.confirms(name, 3)
    await world.rounds()
    del world.registry.known["d-1"]
    await world.rounds()
    assert (await world.rollouts.get(second)).counts.confirmed == 2
    assert await world.rollouts.get(first) == before
    assert await world.rollouts.updates(first) == devices
    row = world.devices.get("d-2")
    assert row
    assert row.value.past == ()  # nothing of a record is kept on the device


async def test_a_live_rollout_keeps_a_device_that_another_one_updates(world: World) -> None:
    first = await world.start(await world.release(2), waves=(Wave(count=1), Wave(percent=100)), soak_s=3600)
    await world.rounds()
    name = next(n for n in ("d-1", "d-2") if (row := world.devices.get(n)) and row.value.update)
    await world.confirms(name, 2)
    await world.start(await world.release(3))
    await world.rounds()
    await world.confirms(name, 3)
    await world.rounds()
    assert (await world.rollouts.get(first)).counts.confirmed == 1
    assert [each.stage for each in await world.rollouts.updates(first)] == [Stage.CONFIRMED]


async def halted(world: World, *, with_confirmed: bool) -> str:
    """A rollout with automatic roll-back, after one device reverted."""
    await world.release(1, image_of("v1"))
    rollout = await world.start(await world.release(2), halt_count=1, roll_back_on_halt=True)
    await world.rounds()
    if with_confirmed:
        await world.confirms("d-2", 2)
    update = await world.loads("d-1")
    await world.relay.result("d-1", update.id, Outcome.REVERTED, Reason.SELF_TEST, "")
    await world.rounds()
    assert world.state(rollout) is RolloutState.HALTED
    return rollout


async def test_rollout_is_not_resumed_during_rollback(world: World) -> None:
    rollout = await halted(world, with_confirmed=True)
    back = f"{rollout}-back"
    with pytest.raises(RolloutStateError, match=f"rolled back by {back}; abort that rollout"):
        await world.resume(rollout)
    await world.confirms("d-2", 1)
    await world.rounds()
    assert world.state(back) is RolloutState.DONE
    await world.abort(back)
    assert (await world.resume(rollout)).rollout.state is RolloutState.RUNNING
    assert (await world.rollouts.get(back)).counts.confirmed == 1


async def test_paused_rollout_is_not_resumed_during_rollback(world: World) -> None:
    await world.release(1, image_of("v1"))
    rollout = await world.start(await world.release(2))
    await world.rounds()
    await world.confirms("d-1", 2)
    await world.rollouts.control(rollout, lambda r, _: rules.pause(r), "paused")
    await world.rollouts.roll_back(rollout, "")
    with pytest.raises(RolloutStateError, match="rolled back by"):
        await world.resume(rollout)


async def test_a_halt_rolls_nothing_back_if_no_device_has_the_release(world: World) -> None:
    rollout = await halted(world, with_confirmed=False)
    assert world.table.get(f"{rollout}-back") is None
    with pytest.raises(NothingToUpdateError, match="nothing to roll back"):
        await world.rollouts.roll_back(rollout, "")
    assert (await world.resume(rollout)).rollout.state is RolloutState.RUNNING


async def test_a_device_that_confirms_after_the_halt_is_brought_back(world: World) -> None:
    rollout = await halted(world, with_confirmed=False)
    await world.confirms("d-2", 2)
    await world.rounds()
    assert world.update("d-2").rollout_id == f"{rollout}-back"


async def test_rollout_skips_devices_updated_by_later_one(world: World) -> None:
    first = await world.start(await world.release(2), waves=(Wave(count=1), Wave(percent=100)), soak_s=60)
    await world.rounds()
    other = next(n for n in ("d-1", "d-2") if (row := world.devices.get(n)) and not row.value.update)
    await world.start(await world.release(3))
    await world.rounds()
    await world.confirms(other, 3)
    world.clock += 61
    await world.rounds()
    candidates = await world.fleet.candidates(world.table.held[first].value)
    assert [c.unfit.split(" ", 1)[1] for c in candidates if c.device_id == other] == [
        "was started later and has updated it"
    ]


async def test_a_second_roll_back_to_something_else_is_refused(world: World) -> None:
    releases = [await world.release(number) for number in (2, 3, 4)]
    rollout = await world.start(releases[2])
    await world.rounds()
    for name in ("d-1", "d-2"):
        await world.confirms(name, 4)
    await world.rounds()
    back = await world.rollouts.roll_back(rollout, releases[1])
    assert (await world.rollouts.roll_back(rollout, releases[1])).rollout == back.rollout
    assert (await world.rollouts.roll_back(rollout, "")).rollout == back.rollout
    with pytest.raises(RolloutStateError, match=r"already rolled back to 3\.0\.0"):
        await world.rollouts.roll_back(rollout, releases[0])
