"""What operations take, as literals: names, times, handlers. Refused here as the host refuses it at run time."""

from __future__ import annotations

from collections.abc import Callable

from services.domain.errors import YggError
from services.domain.values import Value
from services.loki import naming, timing

TIMERS = frozenset(("after", "every", "cron"))
_NAMES: dict[str, Callable[[Value], object]] = {
    **dict.fromkeys((*TIMERS, "cancel"), naming.timer),
    **dict.fromkeys(("subscribe", "publish"), naming.topic),
    "own": naming.own_event,
    "emit": naming.own_event,
    "event": naming.event,
}
HANDLER_AT = {**dict.fromkeys(TIMERS, 2), **dict.fromkeys(("on", "on-event", "on-any-event", "subscribe"), 1)}
"""Which argument of an operation is its handler, from 0."""
STORE_NOTHING = "nothing cannot be stored"


def name_fault(operation: str, name: str) -> str:
    """Return the fault of a name: of a timer, a topic, an own event (`own`) or an event of a device (`event`)."""
    return _fault(lambda: _NAMES[operation](name)) if operation in _NAMES else ""


def time_fault(operation: str, when: Value) -> str:
    """Return the fault of the seconds of `after` and `every`."""
    return _fault(lambda: timing.timing(operation, "t", when))


def event_name(name: str) -> str:
    """Return an event of a device as in the contract, "" for presence and invalid names."""
    try:
        capability, event = naming.event(name)
    except YggError:
        return ""
    return f"{capability}.{event}" if capability else ""


def _fault(check: Callable[[], object]) -> str:
    try:
        check()
    except YggError as e:
        return f"{e.message}. {e.hint}".removesuffix(". ") if e.hint else e.message
    return ""


class Handlers:
    """The handlers and timers that a text registers at its top level: a second one of a name replaces the first."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], int] = {}

    def second(self, operation: str, name: str, line: int) -> str:
        """Return the fault of a duplicate, "" for the first."""
        kind = "timer" if operation in TIMERS else operation
        plain = name.replace("-", "_").replace("/", "." if kind == "subscribe" else "_")
        first = self._lines.setdefault((kind, plain), line)
        if first == line:
            return ""
        what = f"timer {name}" if kind == "timer" else f"handler of {name}"
        return f"a second {what} replaces the one of line {first}"
