"""The alarm clock: never early, once, and alarms due together fire together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.loki.programs.alarms import GRAIN_S, Alarms


class Loop:
    """A clock, and the scheduled calls."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.ahead_s = 0.0
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.wakes = 0

    def now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.now_s + self.ahead_s)

    def monotonic(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Any:
        entry = (self.now_s + delay_s, call)
        self.later.append(entry)

        class Handle:
            def cancel(self) -> None:
                loop.later.remove(entry)

        loop = self
        return Handle()

    def pass_to(self, until_s: float) -> None:
        while self.later and min(self.later)[0] <= until_s:
            at_s, call = entry = min(self.later, key=lambda each: each[0])
            self.later.remove(entry)
            self.now_s = max(self.now_s, at_s)
            self.wakes += 1
            call()
        self.now_s = until_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Loop:
    made = Loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: made)
    return made


def test_alarms_within_a_grain_ring_together_and_never_early(clock: Loop) -> None:
    alarms, rung = Alarms(clock), list[tuple[int, float]]()
    start_s = 100 + GRAIN_S / 10
    dues_s = {owner: start_s + owner * GRAIN_S / 20 for owner in range(16)}
    for owner, due_s in dues_s.items():
        alarms.set(owner, due_s, lambda owner=owner: rung.append((owner, clock.now_s)))  # type: ignore[misc]
    clock.pass_to(101)
    assert [owner for owner, _ in rung] == list(range(16))
    assert all(dues_s[owner] - GRAIN_S / 10 <= at_s <= dues_s[owner] + GRAIN_S for owner, at_s in rung)
    assert clock.wakes == 1


def test_reset_alarm_rings_only_at_new_time(clock: Loop) -> None:
    alarms, rung = Alarms(clock), list[float]()
    alarms.set(1, 105.0, lambda: rung.append(clock.now_s))
    alarms.set(1, 102.0, lambda: rung.append(clock.now_s))
    alarms.set(2, 103.0, lambda: rung.append(clock.now_s))
    alarms.set(2, None, lambda: None)
    clock.pass_to(110)
    assert [round(at_s, 2) for at_s in rung] == [102.0]


def test_an_alarm_may_set_itself_again_while_it_rings(clock: Loop) -> None:
    alarms, rung = Alarms(clock), list[float]()

    def ring() -> None:
        rung.append(clock.now_s)
        if len(rung) < 3:
            alarms.set(1, clock.now_s + 1, ring)

    alarms.set(1, 101.0, ring)
    clock.pass_to(200)
    assert [round(at_s) for at_s in rung] == [101, 102, 103]


def test_repeatedly_set_alarms_leave_no_residue(clock: Loop) -> None:
    alarms = Alarms(clock)
    for n in range(10_000):
        alarms.set(1, 200.0 + n, lambda: None)
    assert len(alarms._heap) < 200


@pytest.mark.parametrize("by_s", [3600, -3600, 0.6])
def test_alarms_report_wall_clock_step_once_to_subscribers(clock: Loop, by_s: float) -> None:
    alarms, calls = Alarms(clock), list[str]()
    alarms.on_step(1, lambda: calls.append("one"))
    alarms.on_step(2, lambda: calls.append("two"))
    clock.pass_to(110)
    assert calls == []
    clock.ahead_s += by_s
    alarms.on_step(2, None)
    clock.pass_to(120)
    assert calls == ["one"]
    alarms.on_step(1, None)
    clock.pass_to(130)
    assert clock.later == []
