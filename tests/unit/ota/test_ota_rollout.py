"""Rollouts: decisions of `step`, by examples and by random fleets of hypothesis."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ota.errors import InvalidRolloutError, RolloutStateError
from services.ota.model import rollout as rules
from services.ota.model.rollout import Candidate, Rollout, RolloutState, Spec, Wave
from services.ota.model.update import Stage, Update

WAVES = (Wave(count=2), Wave(percent=25), Wave(percent=100))


class Fleet:
    """Devices with updates, and a clock, that the test moves."""

    def __init__(self, size: int, online: set[int] | None = None) -> None:
        self.devices = {f"d-{i}": Candidate(f"d-{i}", online is None or i in online) for i in range(size)}
        self.now = 1000.0
        self.started: list[str] = []

    def step(self, rollout: Rollout) -> Rollout:
        done = rules.step(rollout, self.all(), self.now)
        for name in done.start:
            self.started.append(name)
            self.set(name, Update(1, rollout.id, "rel", self.now))
        for name in done.expire:
            self.move(name, Stage.TIMED_OUT)
        for name in done.stop:
            self.move(name, Stage.STOPPED)
        return done.rollout

    def set(self, name: str, update: Update) -> None:
        self.devices[name] = replace(self.devices[name], update=update)

    def move(self, name: str, stage: Stage) -> None:
        update = self.devices[name].update
        assert update is not None
        self.set(name, replace(update, stage=stage))

    def all(self) -> list[Candidate]:
        return list(self.devices.values())

    def active(self) -> list[str]:
        return [n for n, c in self.devices.items() if c.update and c.update.stage.active]

    def finish(self, stage: Stage = Stage.CONFIRMED) -> None:
        for name in self.active():
            self.move(name, stage)


def new(**spec: object) -> Rollout:
    return Rollout("r-1", replace(Spec("rel", waves=WAVES), **spec), 1000.0)  # type: ignore[arg-type]


def run_to_the_end(fleet: Fleet, rollout: Rollout) -> tuple[Rollout, list[int]]:
    sizes = []
    while rollout.state is RolloutState.RUNNING:
        before = len(fleet.started)
        rollout = fleet.step(rollout)
        sizes.append(len(fleet.started) - before)
        fleet.finish()
    return rollout, sizes


def test_waves_include_those_before() -> None:
    done, sizes = run_to_the_end(Fleet(20), new())
    assert done.state is RolloutState.DONE
    assert [s for s in sizes if s] == [2, 3, 15]


def test_a_wave_waits_for_all_its_devices() -> None:
    fleet, rollout = Fleet(20), new()
    rollout = fleet.step(rollout)
    fleet.move(fleet.started[0], Stage.CONFIRMED)
    assert (fleet.step(rollout), len(fleet.started)) == (rollout, 2)
    fleet.move(fleet.started[1], Stage.TRIAL)
    assert (fleet.step(rollout), len(fleet.started)) == (rollout, 2)


def test_a_wave_is_watched_before_the_next() -> None:
    fleet, rollout = Fleet(20), new(soak_s=60)
    rollout = fleet.step(rollout)
    fleet.finish()
    rollout = fleet.step(rollout)
    assert rollout.state is RolloutState.SOAKING
    fleet.now += 59
    assert fleet.step(rollout).state is RolloutState.SOAKING
    fleet.now += 1
    assert fleet.step(rollout).wave == 1


def test_revert_during_soak_counts_as_failure() -> None:
    fleet, rollout = Fleet(20), new(soak_s=60)
    rollout = fleet.step(rollout)
    fleet.finish()
    rollout = fleet.step(rollout)
    fleet.move(fleet.started[0], Stage.REVERTED)
    assert fleet.step(rollout).state is RolloutState.HALTED


def test_a_wave_waits_for_approval_and_only_for_one_wave() -> None:
    fleet, rollout = Fleet(20), new(approval=True)
    rollout = fleet.step(rollout)
    fleet.finish()
    rollout = fleet.step(rollout)
    assert (rollout.state, len(fleet.started)) == (RolloutState.WAITING, 2)
    rollout = fleet.step(rules.approve(rollout))
    assert (rollout.state, len(fleet.started)) == (RolloutState.RUNNING, 5)
    fleet.finish()
    assert fleet.step(rollout).state is RolloutState.WAITING


def test_an_approval_that_is_repeated_approves_no_other_wave() -> None:
    """As by a command that is run again because its answer was lost."""
    fleet, rollout = Fleet(20), new(approval=True)
    with pytest.raises(RolloutStateError, match="running and not waiting for approval"):
        rules.approve(rollout)
    rollout = fleet.step(rollout)
    fleet.finish()
    rollout = rules.approve(fleet.step(rollout))
    assert rules.approve(rollout) == rollout
    rollout = fleet.step(rollout)
    assert (rollout.wave, rules.approve(rollout)) == (1, rollout)
    fleet.finish()
    assert fleet.step(rollout).state is RolloutState.WAITING


def test_an_approval_counts_while_it_is_paused() -> None:
    fleet, rollout = Fleet(20), new(approval=True)
    rollout = fleet.step(rollout)
    fleet.finish()
    paused = rules.approve(rules.pause(fleet.step(rollout)))
    assert fleet.step(paused) == paused
    assert fleet.step(rules.resume(paused, 0)).wave == 1


def test_failures_halt_rollout_and_stop_unbooted_devices() -> None:
    fleet, rollout = Fleet(20), new(waves=(Wave(percent=100),), halt_count=2)
    rollout = fleet.step(rollout)
    fleet.move("d-0", Stage.REVERTED)
    fleet.move("d-1", Stage.TRIAL)
    assert fleet.step(rollout).state is RolloutState.RUNNING
    fleet.move("d-2", Stage.FAILED)
    done = rules.step(rollout, fleet.all(), fleet.now)
    assert (done.rollout.state, done.events) == (RolloutState.HALTED, ("halted",))
    assert "2 of 20 failed, the limit is 2" in done.rollout.reason
    assert set(done.stop) == set(fleet.devices) - {"d-0", "d-1", "d-2"}
    assert not done.start


@pytest.mark.parametrize(("size", "wave", "expected"), [(20, 0, 1), (20, 1, 1), (20, 2, 2), (200, 2, 20), (3, 0, 1)])
def test_ten_percent_of_the_waves_so_far_but_at_least_one(size: int, wave: int, expected: int) -> None:
    assert rules.halt_at(replace(new(), wave=wave), size) == expected


def test_resumed_rollout_resets_failure_count() -> None:
    fleet, rollout = Fleet(20), new(halt_count=1)
    rollout = fleet.step(rollout)
    fleet.finish(Stage.REVERTED)
    rollout = fleet.step(rollout)
    assert rollout.state is RolloutState.HALTED
    assert fleet.step(rollout) == rollout
    rollout = fleet.step(rules.resume(rollout, failures=2))
    assert (rollout.state, rollout.wave, len(fleet.started)) == (RolloutState.RUNNING, 1, 5)


def test_paused_rollout_starts_nothing_until_resumed() -> None:
    fleet, rollout = Fleet(20), new(soak_s=60)
    rollout = fleet.step(rollout)
    fleet.finish()
    rollout = fleet.step(rollout)
    paused = rules.pause(rollout)
    fleet.now += 1000
    assert fleet.step(paused) == paused
    assert rules.resume(paused, 0).state is RolloutState.SOAKING


def test_resume_restarts_stopped_devices_without_failures() -> None:
    fleet, rollout = Fleet(20), new(waves=(Wave(percent=100),), halt_count=1)
    rollout = fleet.step(rollout)
    fleet.move("d-0", Stage.REVERTED)
    rollout = fleet.step(rollout)
    counts = rules.count(rollout, fleet.all())
    assert (rollout.state, counts.stopped, counts.failures) == (RolloutState.HALTED, 19, 1)
    rollout = rules.resume(rollout, counts.failures)
    assert rules.count(rollout, fleet.all()).waiting == 19
    rollout = fleet.step(rollout)
    assert len(fleet.started) == 20 + 19
    fleet.finish()
    rollout = fleet.step(rollout)
    assert (rollout.state, rollout.final) == (RolloutState.DONE, rules.Counts(confirmed=19, reverted=1))


def test_a_failure_that_confirms_after_all_hides_no_other() -> None:
    fleet, rollout = Fleet(20), new(waves=(Wave(percent=100),), halt_count=2)
    rollout = fleet.step(rollout)
    for name in ("d-0", "d-1"):
        fleet.move(name, Stage.TIMED_OUT)
    rollout = fleet.step(rules.resume(fleet.step(rollout), failures=2))
    for name in ("d-0", "d-1"):
        fleet.move(name, Stage.CONFIRMED)
    rollout = fleet.step(rollout)
    fleet.move("d-2", Stage.REVERTED)
    assert fleet.step(rollout).state is RolloutState.RUNNING
    fleet.move("d-3", Stage.REVERTED)
    assert fleet.step(rollout).state is RolloutState.HALTED


def test_stopped_device_of_another_rollout_is_skipped() -> None:
    fleet, rollout = Fleet(2), new(waves=(Wave(percent=100),), halt_count=1)
    rollout = fleet.step(rollout)
    fleet.move("d-0", Stage.REVERTED)
    rollout = fleet.step(rollout)
    taken = Update(2, "r-2", "rel-2", fleet.now, Stage.CONFIRMED)
    fleet.devices["d-1"] = replace(fleet.devices["d-1"], update=taken, past=fleet.devices["d-1"].update)
    rollout = fleet.step(rules.resume(rollout, failures=1))
    assert (rollout.state, len(fleet.started)) == (RolloutState.DONE, 2)
    assert rollout.final == rules.Counts(reverted=1, stopped=1)


def test_members_are_stopped_when_no_longer_matching() -> None:
    fleet = Fleet(3)
    rollout = fleet.step(new(waves=(Wave(percent=100),)))
    for name in fleet.devices:
        fleet.devices[name] = replace(fleet.devices[name], online=False, unfit="not active")
    done = rules.step(rules.abort(rollout, "anna"), fleet.all(), fleet.now)
    assert sorted(done.stop) == sorted(fleet.devices)


def test_device_in_another_rollout_is_not_restarted() -> None:
    """Two rollouts would pass it back and forth."""
    fleet, rollout = Fleet(2), new(waves=(Wave(count=1), Wave(percent=100)), soak_s=60)
    rollout = fleet.step(rollout)
    fleet.finish()
    first = fleet.started[0]
    taken = Update(2, "r-2", "rel-2", fleet.now, Stage.CONFIRMED)
    fleet.devices[first] = replace(fleet.devices[first], update=taken, past=fleet.devices[first].update)
    for _ in range(3):
        fleet.now += 61
        rollout = fleet.step(rollout)
        fleet.finish()
    assert (rollout.state, fleet.started.count(first)) == (RolloutState.DONE, 1)
    assert rollout.final == rules.Counts(confirmed=2)


@pytest.mark.parametrize("end", ["done", "aborted"])
def test_counts_of_an_ended_rollout_never_change(end: str) -> None:
    fleet, rollout = Fleet(4), new(waves=(Wave(percent=50), Wave(percent=100)))
    rollout = fleet.step(rollout)
    if end == "aborted":
        fleet.finish()
        rollout = fleet.step(rules.abort(rollout, "anna"))
    while not rollout.ended:
        fleet.finish()
        rollout = fleet.step(rollout)
    expected = rules.Counts(confirmed=2, waiting=2) if end == "aborted" else rules.Counts(confirmed=4)
    assert rollout.final == expected
    for name in fleet.devices:  # each is started by another rollout, and some are gone
        fleet.devices[name] = Candidate(name, online=False, update=Update(9, "r-9", "rel-9", 0.0))
    del fleet.devices["d-0"]
    assert fleet.step(rollout) == rollout
    assert rules.count(rollout, fleet.all()) == expected


def test_an_aborted_rollout_is_final_once_nothing_is_under_way() -> None:
    fleet = Fleet(2)
    rollout = fleet.step(new(waves=(Wave(percent=100),)))
    fleet.move("d-0", Stage.TRIAL)
    rollout = fleet.step(rules.abort(rollout, "anna"))
    assert (rollout.final, fleet.active()) == (None, ["d-0"])
    fleet.finish()
    assert fleet.step(rollout).final == rules.Counts(confirmed=1, stopped=1)


def test_update_started_while_rollout_ends_is_stopped() -> None:
    """One replica starts a device while a person aborts at another."""
    fleet = Fleet(1)
    rollout = fleet.step(rules.abort(new(), "anna"))
    fleet.set("d-0", Update(1, rollout.id, "rel", fleet.now))
    assert rollout.final == rules.Counts(waiting=1)
    assert (fleet.step(rollout), fleet.active()) == (rollout, [])


def test_abort_is_the_end() -> None:
    fleet = Fleet(5)
    rollout = fleet.step(new())
    aborted = rules.abort(rollout, "anna")
    fleet.step(aborted)
    assert not fleet.active()
    for action in (rules.pause, rules.approve):
        with pytest.raises(RolloutStateError):
            action(aborted)
    with pytest.raises(RolloutStateError):
        rules.resume(aborted, 0)


def test_no_more_a_minute_than_the_rate() -> None:
    fleet, rollout = Fleet(20), new(waves=(Wave(percent=100),), rate_per_minute=6)
    for seconds in range(1, 121):
        rollout = fleet.step(rollout)
        assert len(fleet.started) == (min(seconds, 6) if seconds <= 60 else min(seconds - 54, 12))
        fleet.now += 1


def test_a_rate_is_spread_over_the_minute() -> None:
    fleet, rollout = Fleet(300), new(waves=(Wave(percent=100),), rate_per_minute=480)
    for quarters in range(1, 41):
        rollout = fleet.step(rollout)
        rollout = fleet.step(rollout)
        assert len(fleet.started) == 2 * quarters
        fleet.now += 0.25


def test_a_device_that_takes_too_long_has_timed_out_and_counts() -> None:
    fleet, rollout = Fleet(4), new(device_timeout_s=100, halt_count=1)
    rollout = fleet.step(rollout)
    fleet.now += 101
    rollout = fleet.step(fleet.step(rollout))
    assert (rollout.state, rules.count(rollout, fleet.all()).timed_out) == (RolloutState.HALTED, 2)


def test_offline_devices_delay_only_the_last_wave() -> None:
    fleet, rollout = Fleet(4, online={0}), new()
    for _ in range(5):
        rollout = fleet.step(rollout)
        fleet.finish()
    assert (rollout.state, rollout.wave, fleet.started) == (RolloutState.RUNNING, 2, ["d-0"])
    fleet.devices["d-3"] = replace(fleet.devices["d-3"], online=True)
    fleet.step(rollout)
    assert fleet.started == ["d-0", "d-3"]


@pytest.mark.parametrize("late", [True, False])
def test_late_match_waits_without_late_joiners(late: bool) -> None:
    fleet, rollout = Fleet(4), new(late_joiners=late)
    rollout = fleet.step(rollout)
    fleet.devices["d-new"] = Candidate("d-new", online=True, late=True)
    counts = rules.count(rollout, fleet.all())
    assert (counts.total, counts.late) == ((5, 0) if late else (4, 1))
    rollout, _ = run_to_the_end(fleet, rollout)
    assert ("d-new" in fleet.started) is late
    fleet.devices["d-newer"] = Candidate("d-newer", online=True, late=True)
    rollout = fleet.step(rollout)
    fleet.finish()
    rollout = fleet.step(rollout)
    assert ("d-newer" in fleet.started) is late
    assert rollout.state is RolloutState.DONE
    assert rollout.final == (None if late else rules.Counts(confirmed=4, late=1))


def test_with_late_joiners_it_is_paused_and_ended_by_a_person() -> None:
    fleet, rollout = Fleet(1), new(late_joiners=True)
    rollout, _ = run_to_the_end(fleet, rollout)
    fleet.devices["d-new"] = Candidate("d-new", online=True, late=True)
    paused = rules.pause(rollout)
    assert fleet.step(paused) == paused
    assert rules.resume(paused, 0).state is RolloutState.DONE
    rollout = fleet.step(rules.abort(rollout, "anna"))
    assert (rollout.state, fleet.started) == (RolloutState.ABORTED, ["d-0"])
    assert rollout.final == rules.Counts(confirmed=1, waiting=1)


def test_busy_device_waits_and_unfit_device_is_skipped() -> None:
    fleet, rollout = Fleet(3), new(waves=(Wave(percent=100),))
    fleet.set("d-1", Update(9, "r-other", "other", 0.0, Stage.DOWNLOADING))
    fleet.devices["d-2"] = replace(fleet.devices["d-2"], unfit="wrong class")
    rollout = fleet.step(rollout)
    assert fleet.started == ["d-0"]
    fleet.move("d-1", Stage.CONFIRMED)
    fleet.step(rollout)
    assert fleet.started == ["d-0", "d-1"]


@pytest.mark.parametrize(
    "spec",
    [
        {"waves": ()},
        {"waves": (Wave(count=2),)},
        {"waves": (Wave(percent=50), Wave(percent=25), Wave(percent=100))},
        {"waves": (Wave(count=5), Wave(count=2), Wave(percent=100))},
        {"waves": (Wave(), Wave(percent=100))},
        {"halt_percent": 0},
        {"waves": (Wave(percent=100),) * 17},
    ],
    ids=str,
)
def test_rollouts_that_cannot_be(spec: dict[str, object]) -> None:
    with pytest.raises(InvalidRolloutError):
        rules.check(replace(Spec("rel"), **spec))  # type: ignore[arg-type]


UNASKED = [stage for stage in Stage if stage is not Stage.STOPPED]
WAVE_LISTS = st.builds(
    lambda count, percents: (
        *([Wave(count=count)] if count else []),
        *(Wave(percent=p) for p in sorted(percents)),
        rules.ALL,
    ),
    st.integers(0, 5),
    st.lists(st.integers(1, 99), max_size=3),
)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 30),
    WAVE_LISTS,
    st.integers(1, 5),
    st.integers(0, 4),
    st.lists(st.tuples(st.integers(0, 29), st.sampled_from(UNASKED), st.integers(0, 40)), max_size=80),
)
def test_whatever_devices_do(
    size: int, waves: tuple[Wave, ...], halt: int, rate: int, moves: list[tuple[int, Stage, int]]
) -> None:
    """Never more started than the wave allows, none twice, none once it halted, no more a minute than the rate."""
    fleet = Fleet(size)
    rollout = new(waves=waves, halt_count=halt, rate_per_minute=rate, device_timeout_s=10_000)
    times: list[float] = []
    for which, stage, seconds in moves:
        fleet.now += seconds
        if fleet.active():
            fleet.move(fleet.active()[which % len(fleet.active())], stage)
        before, failures = len(fleet.started), rules.count(rollout, fleet.all()).failures
        rollout = fleet.step(rollout)
        times += [fleet.now] * (len(fleet.started) - before)
        assert len(fleet.started) == len(set(fleet.started))
        assert len(fleet.started) <= rules.target(rollout, size)
        if failures >= halt:
            assert rollout.state is RolloutState.HALTED
            assert len(fleet.started) == before
            assert all(fleet.devices[n].update.stage is Stage.TRIAL for n in fleet.active())  # type: ignore[union-attr]
        if rate:
            assert sum(1 for t in times if fleet.now - t < 60) <= rate
    for _ in range(400):  # and once all devices are well, it ends
        fleet.finish()
        fleet.now += 60
        rollout = fleet.step(rollout)
    assert rollout.state in (RolloutState.DONE, RolloutState.HALTED)
    if rollout.state is RolloutState.DONE:
        assert set(fleet.started) == set(fleet.devices)
