"""Timers, the budget of errors, placement: the pure rules of instances."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import InvalidRequestError, YggError
from services.domain.requirements import parse_requirement
from services.domain.selectors import parse_selector
from services.domain.values import Value
from services.loki.programs import placement
from services.loki.programs.errors import TooManyTimersError
from services.loki.programs.lifecycle import ErrorBudget, Verdict
from services.loki.programs.model import Version
from services.loki.programs.placement import Canary, Deployment, Ref, Target
from services.loki.programs.timers import Timers
from tests.fakes.scripting import LED, TEMPERATURE

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
V1, V2 = Version((1, 0, 0)), Version((2, 0, 0))


def test_a_timer_is_due_once_and_a_repeating_one_keeps_its_phase() -> None:
    timers = Timers(8)
    timers.after("once", 2, 0)
    timers.every("tick", 1, 0)
    assert timers.next_due_s() == 1
    assert timers.take_due(1.25, NOON) == ["tick"]
    assert timers.next_due_s() == 2
    assert sorted(timers.take_due(2, NOON)) == ["once", "tick"]
    assert timers.next_due_s() == 3
    assert len(timers) == 1


def test_missed_rings_of_late_caller_are_due_once() -> None:
    timers = Timers(8)
    timers.every("tick", 1, 0)
    assert timers.take_due(10.5, NOON) == ["tick"]
    assert timers.next_due_s() == 11


def test_same_name_rearms_the_timer() -> None:
    timers = Timers(1)
    for _ in range(10_000):
        timers.after("one", 5, 0)
    timers.after("one", 9, 0)
    assert timers.take_due(6, NOON) == []
    assert timers.take_due(9, NOON) == ["one"]


def test_timers_over_limit_are_refused_until_one_is_cancelled() -> None:
    timers = Timers(2)
    timers.after("a", 1, 0)
    timers.after("b", 1, 0)
    with pytest.raises(TooManyTimersError):
        timers.after("c", 1, 0)
    assert timers.cancel("a")
    assert not timers.cancel("a")
    timers.after("c", 1, 0)
    assert timers.take_due(2, NOON) == ["b", "c"]


def test_a_schedule_is_due_by_the_wall_clock() -> None:
    timers = Timers(2)
    timers.cron("report", "*/5 * * * *", 100.0, NOON + timedelta(seconds=30))
    assert timers.next_due_s() == 370.0
    assert timers.take_due(370.0, NOON + timedelta(minutes=5)) == ["report"]
    assert timers.next_due_s() == 670.0


HOUR = timedelta(hours=1)


def rings(schedule: str, steps: list[tuple[float, timedelta]], until_s: float = 48 * 3600) -> list[str]:
    """The wall times of each ring when the wall clock, at NOON first, is stepped at those seconds."""
    timers, wall, found = Timers(1), NOON, []
    timers.cron("report", schedule, 0.0, NOON)
    pending = [*steps, (until_s, timedelta())]
    now_s = 0.0
    while pending:
        due_s = timers.next_due_s()
        if due_s is not None and due_s <= pending[0][0]:
            wall, now_s = wall + timedelta(seconds=due_s - now_s), due_s
            found += [f"{wall:%d %H:%M}" for _ in timers.take_due(now_s, wall)]
            continue
        at_s, by = pending.pop(0)
        wall, now_s = wall + timedelta(seconds=at_s - now_s) + by, at_s
        timers.resync(now_s, wall)
    return found


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        ([], ["01 18:00", "02 18:00"]),
        ([(3600, 2 * HOUR)], ["01 18:00", "02 18:00"]),  # forward, not over it
        ([(3600, 8 * HOUR)], ["01 21:00", "02 18:00", "03 18:00"]),  # forward over it: at once, and once
        ([(3600, 80 * HOUR)], ["04 21:00", "05 18:00", "06 18:00"]),  # over three of them: once
        ([(3600, -2 * HOUR)], ["01 18:00", "02 18:00"]),  # back before it
        ([(7 * 3600, -2 * HOUR)], ["01 18:00", "02 18:00"]),  # back over it: not twice
        ([(7 * 3600, -(24 * 365 + 2) * HOUR)], ["01 18:00", "01 18:00", "02 18:00"]),  # a correction counts
        ([(3600, 8 * HOUR), (7200, -8 * HOUR)], ["01 21:00", "01 18:00", "02 18:00"]),
    ],
    ids=["none", "forward", "over", "far", "back", "back-over", "correction", "both"],
)
def test_schedule_follows_steps_of_the_wall_clock(steps: list[tuple[float, timedelta]], wanted: list[str]) -> None:
    assert rings("0 18 * * *", steps) == wanted


def test_schedule_never_rings_early_after_unnoticed_step_back() -> None:
    timers = Timers(1)
    timers.cron("report", "0 18 * * *", 0.0, NOON)
    assert timers.take_due(6 * 3600, NOON + 5 * HOUR) == []
    assert timers.next_due_s() == 7 * 3600


@pytest.mark.parametrize("seconds", [-1, 0.001, float("nan"), float("inf"), True, "1", 1e12])
def test_invalid_interval_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidRequestError):
        Timers(2).every("tick", seconds, 0)


@pytest.mark.parametrize(("kind", "when"), [("after", 1), ("every", 1.5), ("cron", "* * * * *")])
def test_a_timer_is_kept_under_the_name_that_the_rule_makes(kind: str, when: Value) -> None:
    timers = Timers(2)
    assert timers.arm(kind, "dim-lamp/2", when, 0, NOON) == "dim_lamp_2"
    assert timers.arm(kind, "dim_lamp_2", when, 0, NOON) == "dim_lamp_2"
    assert len(timers) == 1


BAD_TIMERS: list[tuple[Value, Value, Value, str]] = [
    ("after", "Tick!", 1, "'Tick!' is not a timer name"),
    ("after", 5, 1, "a timer is named by a string, not by an int"),
    ("after", "t", -1, "0 s to a year, not -1 s"),
    ("after", "t", "1", "a number of seconds, not a string"),
    ("after", "t", True, "a number of seconds, not a bool"),
    ("every", "t", 0.01, "0.05 s to a year, not 0.01 s"),
    ("cron", "t", 5, "a schedule is text such as */5 * * * *, not an int"),
    ("cron", "t", "99 * * * *", "the minute '99' is not 0 to 59"),
]


@pytest.mark.parametrize(("kind", "name", "when", "says"), BAD_TIMERS)
def test_a_timer_that_cannot_be_is_refused_with_its_reason(kind: Value, name: Value, when: Value, says: str) -> None:
    with pytest.raises(YggError) as caught:
        Timers(2).arm(kind, name, when, 0, NOON)
    assert says in caught.value.message


def test_three_errors_in_a_row_hold_and_the_next_one_fails() -> None:
    budget = ErrorBudget()
    assert [budget.error() for _ in range(4)] == [Verdict.CONTINUE, Verdict.CONTINUE, Verdict.SUSPEND, Verdict.FAIL]


def test_a_success_forgives() -> None:
    budget = ErrorBudget()
    for _ in range(10):
        assert budget.error() is Verdict.CONTINUE
        assert budget.error() is Verdict.CONTINUE
        budget.success()


FLEET = {f"dev-{n}": {"zone": "hall" if n % 2 else "roof"} for n in range(200)}


def test_a_selector_means_one_instance_a_device() -> None:
    deployment = Deployment("blink", "blink", V1, Target(selector="zone=hall"))
    found = placement.refs(deployment, FLEET, parse_selector("zone=hall"))
    assert len(found) == 100
    assert placement.refs(Deployment("m", "m", V1, Target()), FLEET, None) == [Ref("m")]


def test_dead_replica_moves_only_its_own_share() -> None:
    keys = [Ref("blink", device).key for device in FLEET]
    before = {key: placement.owner(key, ["a", "b"]) for key in keys}
    assert 70 < sum(owner == "a" for owner in before.values()) < 130
    after = {key: placement.owner(key, ["b", "c"]) for key in keys}
    assert all(after[key] in ("b", "c") for key in keys if before[key] == "b")
    alone = {key: placement.owner(key, ["b"]) for key in keys}
    assert set(alone.values()) == {"b"}
    assert placement.owner("x", []) == ""


@given(st.integers(1, 100), st.integers(1, 60))
def test_a_canary_is_its_share_and_at_least_one(share: int, count: int) -> None:
    deployment = Deployment("d", "p", V1, Target(selector="zone=hall"), canary=Canary(V2, share, 3))
    refs = [Ref("d", f"dev-{n}") for n in range(count)]
    tried = [ref for ref in refs if placement.version_of(deployment, refs, ref) == V2]
    assert len(tried) == max(1, count * share // 100)


def test_missing_parts_of_contract_are_reported_exactly() -> None:
    wanted = (parse_requirement("sensor.temperature@1+"), parse_requirement("actuator.led@1+{brightness:% 0..200}"))
    failed = placement.unmet(wanted, [LED, TEMPERATURE])
    assert placement.explanation(failed) == "led0.brightness: range is 0 to 100 %, 0 to 200 is required"
    assert failed[0].requirement == 1
    assert not placement.unmet(wanted[:1], [TEMPERATURE])
    assert placement.explanation(placement.unmet(wanted, None)) == "the device has no contract yet"
