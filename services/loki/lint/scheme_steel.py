"""The dialect steel: calls of its operations with literals that are refused when they are reached."""

from __future__ import annotations

from collections.abc import Iterator

from services.loki.lint import operations
from services.loki.lint.contracts import Contracts
from services.loki.lint.scheme_reader import Node

ARITIES: dict[str, tuple[int, int | None]] = {
    **dict.fromkeys(("mqtt-publish", "mqtt-subscribe", "shadow-update"), (2, 2)),
    **dict.fromkeys(("schedule", "schedule-interval", "register-event-handler"), (2, 2)),
    "set-timer": (2, 3),
    "cancel-timer": (1, 1),
    "cancel-all-timers": (0, 0),
    "emit-event": (1, 2),
}
NAMED = {
    "set-timer": "after",
    "cancel-timer": "cancel",
    "mqtt-publish": "publish",
    "mqtt-subscribe": "subscribe",
    "emit-event": "emit",
}
"""Operations that take a name, and the host's operations for the same names."""
TIMES = {"set-timer": (1, "after"), "schedule-interval": (0, "every")}
"""Where seconds stand, and the operation of the host that takes them."""
HANDLERS = {"set-timer": 2, "schedule": 1, "schedule-interval": 1, "mqtt-subscribe": 1, "register-event-handler": 1}
_OF_TWO = frozenset(("mqtt-message", "sensor"))
_OWN_WORDS = _OF_TWO | {"timer", "online", "offline"}


def canonical(head: str, name: str) -> str:
    """Return a name as on the mesh: in lower case, and with levels only in topics."""
    lower = name.lower()
    return lower if head.startswith("mqtt-") else lower.replace(".", "_")


def name_fault(head: str, name: str) -> str:
    """Return the fault of a literal name, or ""."""
    if head == "register-event-handler":
        if name in _OWN_WORDS:
            return ""
        kind, plain = ("event", name) if "." in name else ("own", canonical(head, name))
        return operations.name_fault(kind, plain)
    return operations.name_fault(NAMED[head], canonical(head, name)) if head in NAMED else ""


def event_fault(head: str, name: str, contracts: Contracts) -> str:
    """Return an event of the device that no contract has, or ""."""
    path = operations.event_name(name) if head == "register-event-handler" and "." in name else ""
    return contracts.path(path, "event") if path and contracts else ""


def handler_arguments(head: str, name: str) -> int:
    """Return the maximum number of arguments of a handler."""
    return 2 if head == "mqtt-subscribe" or name in _OF_TWO else 1


def times(head: str, given: list[Node]) -> Iterator[tuple[Node, str]]:
    """Return the seconds in a call, with the operation that takes them."""
    if head in TIMES:
        at, operation = TIMES[head]
        yield given[at], operation
