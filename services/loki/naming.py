"""How the names are read that scripts give to timers, own events, events of devices and topics. Pure.

    -  is read as _
    /  is read as . in names with levels (topics, events of devices), as _ in names without (timers, own events)

The engines read names by the same rule (lua/live.lua, scheme/ygg/live.scm), because handlers are found by name.
"""

from __future__ import annotations

from services.domain import ids
from services.domain.errors import InvalidRequestError
from services.domain.values import Value, a_type

MAX_TOPIC_LEVELS = 8
PRESENCE = frozenset(("online", "offline"))


def text(value: Value, what: str) -> str:
    """Return the string that names a `what`; raise InvalidRequestError."""
    if not isinstance(value, str):
        raise InvalidRequestError(f"a {what} is named by a string, not by {a_type(value)}")
    return value


def timer(name: Value) -> str:
    """Return the name of a timer: `dim-lamp` is `dim_lamp`; raise InvalidIdError or InvalidRequestError."""
    return _single(text(name, "timer"), "timer name")


def own_event(name: Value) -> str:
    """Return the name of an own event; raise as `timer`."""
    return _single(text(name, "event"), "name of an own event")


def topic(name: Value) -> list[str]:
    """Return the levels of a topic: `alarm/fire` is alarm and fire; raise as `timer`."""
    levels = _leveled(text(name, "topic")).split(".")
    if len(levels) > MAX_TOPIC_LEVELS:
        raise InvalidRequestError(f"a topic has at most {MAX_TOPIC_LEVELS} levels, this one has {len(levels)}")
    return [ids.member_id(level, "level of a topic") for level in levels]


def event(path: Value) -> tuple[str, str]:
    """Capability and event of `temp0.over`, ("", "online") for presence; raises as `timer`."""
    name = _leveled(text(path, "event"))
    if name in PRESENCE:
        return "", name
    capability, _, member = name.partition(".")
    if not capability or not member or "." in member:
        shown = ids.printable(name)
        raise InvalidRequestError(
            f"{shown!r} names no event of a device",
            hint="Write CAPABILITY.NAME, such as temp0.over, or online, offline.",
        )
    return ids.member_id(capability, "capability"), ids.member_id(member, "event name")


def _single(name: str, what: str) -> str:
    return ids.member_id(name.replace("-", "_").replace("/", "_"), what)


def _leveled(name: str) -> str:
    return name.replace("-", "_").replace("/", ".")
