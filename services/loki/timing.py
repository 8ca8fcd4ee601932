"""Due times of timers, in seconds or as a cron expression. Pure; programs/timers.py owns the armed timers."""

from __future__ import annotations

from dataclasses import dataclass

from services.domain import cron
from services.domain.cron import Cron
from services.domain.errors import InvalidRequestError
from services.domain.values import Value, a_type
from services.loki import naming

MIN_INTERVAL_S = 0.05
MAX_INTERVAL_S = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Timing:
    """A timer's name, and either its schedule or the seconds to wait; `repeats` after each time that it rang."""

    name: str
    seconds: float = 0.0
    schedule: Cron | None = None
    repeats: bool = False


def timing(kind: Value, name: Value, when: Value) -> Timing:
    """Parse an `after`, `every` or `cron`; raise InvalidRequestError or InvalidIdError."""
    named = naming.timer(name)
    if kind == "cron":
        if not isinstance(when, str):
            raise InvalidRequestError(f"a schedule is text such as */5 * * * *, not {a_type(when)}", hint=cron.HINT)
        return Timing(named, schedule=cron.parse(when))
    if kind == "every":
        return Timing(named, seconds(when, MIN_INTERVAL_S), repeats=True)
    return Timing(named, seconds(when, 0.0))


def seconds(value: Value, least: float) -> float:
    """Return the seconds of a timer; raise InvalidRequestError that states the bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequestError(f"a timer takes a number of seconds, not {a_type(value)}")
    if not least <= value <= MAX_INTERVAL_S:
        raise InvalidRequestError(f"a timer takes {least:g} s to a year, not {value:g} s")
    return float(value)
