"""The timers and schedules of one instance, by name. Pure: times are seconds of a monotonic clock, given by the caller.

Arming a name that is armed replaces it. A timer that repeats keeps its phase: it is due at start + n * interval, and
occurrences that a late caller missed are due once.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.domain import cron, ids
from services.domain.cron import Cron
from services.domain.errors import InvalidRequestError
from services.domain.values import Value
from services.loki import timing
from services.loki.programs.errors import TooManyTimersError

REPEAT_S = 3 * 3600.0
_REPEAT = timedelta(seconds=REPEAT_S)
_EARLY = timedelta(seconds=1)
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Timer:
    due_s: float
    serial: int
    interval_s: float = 0.0
    schedule: Cron | None = None
    at: datetime | None = None
    last: datetime = _NEVER
    """The moment after which a schedule is due next."""


class Timers:
    """At most `most` at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._armed: dict[str, _Timer] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._armed)

    def arm(self, kind: Value, name: Value, when: Value, now_s: float, now: datetime) -> str:
        """Arms an `after`, `every` or `cron`; the name as it is kept. Raises as `timing`, and TooManyTimersError."""
        found = timing.timing(kind, name, when)
        if found.schedule is not None:
            self._arm(found.name, _scheduled(found.schedule, now_s, now, now))
        else:
            self._arm(found.name, _Timer(now_s + found.seconds, 0, found.seconds if found.repeats else 0.0))
        return found.name

    def after(self, name: str, seconds: Value, now_s: float) -> None:
        """Due once; raises InvalidRequestError or TooManyTimersError."""
        self._arm(name, _Timer(now_s + timing.seconds(seconds, 0.0), 0))

    def every(self, name: str, seconds: Value, now_s: float) -> None:
        """Due again and again, the first time after one interval."""
        interval_s = timing.seconds(seconds, timing.MIN_INTERVAL_S)
        self._arm(name, _Timer(now_s + interval_s, 0, interval_s))

    def cron(self, name: str, expression: str, now_s: float, now: datetime) -> None:
        """Due by a cron expression in UTC."""
        self._arm(name, _scheduled(cron.parse(expression), now_s, now, now))

    def resync(self, now_s: float, now: datetime) -> None:
        """After a step of the wall clock: schedules are due when the wall clock says, once.

        As in cron(8), a step back of at most REPEAT_S repeats nothing, and a larger one is a correction: those rung
        by the wrong time counts no more. After a step forward whatever was passed over is due now, once.
        """
        for name, timer in list(self._armed.items()):
            self._resync(name, timer, now_s, now)

    def _resync(self, name: str, timer: _Timer, now_s: float, now: datetime) -> None:
        if timer.schedule is None or timer.at is None:
            return
        last = timer.last if timer.last - now <= _REPEAT else now
        at = timer.schedule.next_after(last) or timer.at
        self._keep(name, _Timer(now_s + max(0.0, (at - now).total_seconds()), 0, 0.0, timer.schedule, at, last))

    def cancel(self, name: str) -> bool:
        """Cancel a timer; return whether it was armed."""
        return self._armed.pop(name, None) is not None

    def clear(self) -> None:
        """Cancel all timers."""
        self._armed.clear()
        self._heap.clear()

    def next_due_s(self) -> float | None:
        """Return the next due time, None if no timer is armed."""
        while self._heap:
            due_s, serial, name = self._heap[0]
            timer = self._armed.get(name)
            if timer is not None and timer.serial == serial:
                return due_s
            heapq.heappop(self._heap)
        return None

    def take_due(self, now_s: float, now: datetime) -> list[str]:
        """Return the names that are due, in order; those that repeat are armed again."""
        names: list[str] = []
        while (due_s := self.next_due_s()) is not None and due_s <= now_s:
            name = heapq.heappop(self._heap)[2]
            timer = self._armed[name]
            if timer.schedule is not None and timer.at is not None and timer.at - now > _EARLY:
                self._resync(name, timer, now_s, now)  # the wall clock was set back, which is not reported yet
                continue
            names.append(name)
            if timer.schedule is not None and timer.at is not None:
                self._keep(name, _scheduled(timer.schedule, now_s, now, max(now, timer.at)))
            elif timer.interval_s:
                missed = math.floor((now_s - due_s) / timer.interval_s)
                timer.due_s = due_s + (missed + 1) * timer.interval_s
                self._keep(name, timer)
            else:
                del self._armed[name]
        return names

    def _arm(self, name: str, timer: _Timer) -> None:
        if name not in self._armed and len(self._armed) >= self._most:
            raise TooManyTimersError(
                f"{len(self._armed)} timers are armed, more are not allowed",
                hint="Arm one name again instead of a new one, or ask for more in the manifest (limits.timers).",
            )
        self._keep(name, timer)

    def _keep(self, name: str, timer: _Timer) -> None:
        self._serial += 1
        timer.serial = self._serial
        self._armed[name] = timer
        heapq.heappush(self._heap, (timer.due_s, timer.serial, name))
        if len(self._heap) > 64 + 4 * self._most:  # names armed again and again leave their old entries behind
            self._heap = [(t.due_s, t.serial, n) for n, t in self._armed.items()]
            heapq.heapify(self._heap)


def _scheduled(schedule: Cron, now_s: float, now: datetime, last: datetime) -> _Timer:
    """Due next after `last`, which is later than `now` if the wall clock lags behind the one that counts."""
    at = schedule.next_after(last)
    if at is None:
        raise InvalidRequestError(f"{ids.printable(schedule.text)} is never due again")
    return _Timer(now_s + (at - now).total_seconds(), 0, 0.0, schedule, at, last)
