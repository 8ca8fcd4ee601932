"""Scheme: calls of operations with literals that the host refuses, and calls with a wrong number of arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from services.loki.lint import operations, scheme_steel
from services.loki.lint.contracts import Contracts
from services.loki.lint.findings import Finding, Severity
from services.loki.lint.schedules import schedule
from services.loki.lint.scheme_reader import Node

Arity = tuple[int, int | None]
"""The least and the most arguments, None for any number."""
OPERATIONS: dict[str, Arity] = {
    **dict.fromkeys(("after", "cron"), (3, 3)),
    **dict.fromkeys(("on", "on-event", "on-any-event", "subscribe", "publish", "store", "property-write!"), (2, 2)),
    **dict.fromkeys(("sleep", "cancel", "property-read", "store-delete"), (1, 1)),
    **dict.fromkeys(("emit", "load", "call"), (1, 2)),
    **dict.fromkeys(("uptime", "current-time", "memory-info", "read-sensors", "store-keys", "twin"), (0, 0)),
    **dict.fromkeys(("led-on", "led-off", "led-state"), (0, 1)),
    **scheme_steel.ARITIES,
}
_KINDS = {"on": "own", "on-event": "event", "on-any-event": "event"}


class Calls:
    """Checks the calls of one text. `defined`: procedures of the script with a known arity."""

    def __init__(self, contracts: Contracts, defined: Mapping[str, Arity]) -> None:
        self._contracts, self._defined = contracts, defined
        self._handlers = operations.Handlers()

    def of_own(self, node: Node, head: str) -> Iterator[Finding]:
        """Return the faults of a call of the script's own procedure."""
        fault = wrong_count(head, self._defined.get(head), len(node.items) - 1)
        if fault:
            yield _finding(node, "ARITY", fault)

    def of_host(self, node: Node, head: str, *, top: bool, elsewhere: bool) -> Iterator[Finding]:
        """Return the faults of a call of the host. `top`: outside of everything; `elsewhere`: of another device."""
        given = node.items[1:]
        fault = wrong_count(head, OPERATIONS.get(head), len(given))
        if fault:
            yield _finding(node, "ARITY", fault)
            return
        if head == "every" and given and _name(given[0]):
            fault = wrong_count(head, (3, 3), len(given))
            if fault:
                yield _finding(node, "ARITY", fault)
                return
        if head == "store" and _is_nothing(given[1]):
            yield _finding(node, "NOTHING", f"{operations.STORE_NOTHING}; to forget it write (store-delete KEY)")
        name = _name(given[0]) if given else ""
        if name:
            yield from self._named(given[0], head, name, top=top, elsewhere=elsewhere)
        if head == "every" and not name:
            return
        if head in ("after", "every"):
            yield from _time(given[1], head)
        if head == "cron" and given[1].kind == "string":
            yield schedule(given[1].text, given[1].line, given[1].column)
        place = operations.HANDLER_AT.get(head)
        if place is not None:
            yield from _handler(given[place], head)
        yield from self._of_steel(given, head, name, elsewhere=elsewhere)

    def _of_steel(self, given: list[Node], head: str, name: str, *, elsewhere: bool) -> Iterator[Finding]:
        for seconds, operation in scheme_steel.times(head, given):
            yield from _time(seconds, operation)
        place = scheme_steel.HANDLERS.get(head)
        if place is not None and place < len(given):
            yield from _handler(given[place], head, scheme_steel.handler_arguments(head, name))
        fault = scheme_steel.name_fault(head, name) if name else ""
        if fault:
            yield _finding(given[0], "NAME", fault)
        elif name and not elsewhere and (missing := scheme_steel.event_fault(head, name, self._contracts)):
            yield _finding(given[0], "NOT_IN_CONTRACT", missing)

    def _named(self, node: Node, head: str, name: str, *, top: bool, elsewhere: bool) -> Iterator[Finding]:
        kind = _KINDS.get(head, head)
        fault = operations.name_fault(kind, name)
        if fault:
            yield _finding(node, "NAME", fault)
            return
        path = operations.event_name(name) if kind == "event" else ""
        if path and self._contracts and (head == "on-any-event" or not elsewhere):
            missing = self._contracts.path(path, "event")
            if missing:
                yield _finding(node, "NOT_IN_CONTRACT", missing)
        if top and (head in operations.TIMERS or head in ("on", "on-event", "on-any-event", "subscribe")):
            again = self._handlers.second(head, name, node.line)
            if again:
                yield _finding(node, "SECOND", again, Severity.WARNING)


def arity(formals: Node) -> Arity | None:
    """Return the arity of a definition's formals, without its name; None if they are not plain."""
    names = formals.items[1:]
    if not all(item.kind == "symbol" for item in names):
        return None
    return (len(names) - 1, None) if formals.dotted else (len(names), len(names))


def wrong_count(name: str, arity: Arity | None, given: int) -> str:
    """Return an error such as `f takes 2 arguments, not 1`, or "" if the arity accepts `given`."""
    if arity is None or (arity[0] <= given and (arity[1] is None or given <= arity[1])):
        return ""
    low, high = arity
    if high is None:
        count = f"at least {low}"
    elif high == 0:
        count = "no"
    elif low == high:
        count = str(low)
    else:
        count = f"at most {high}" if low == 0 else f"{low} or {high}"
    ending = "" if (low if high is None else high) == 1 else "s"
    return f"{name} takes {count} argument{ending}, not {given or 'none'}"


def _name(node: Node) -> str:
    """Return the name in a string or a quoted symbol."""
    if node.kind == "string" and "\\" not in node.text:
        return node.text
    if node.head() == "quote" and len(node.items) == 2 and node.items[1].kind == "symbol":
        return node.items[1].text
    return ""


def _is_nothing(node: Node) -> bool:
    return node.text == "*unspecified*" or (node.head() == "quote" and _name(node) == "null")


def _time(node: Node, head: str) -> Iterator[Finding]:
    known = node.kind == "string" or (node.kind == "other" and not node.text.startswith("#"))
    if not known:
        return
    try:
        value: float | str = node.text if node.kind == "string" else float(node.text)
    except ValueError:
        return
    fault = operations.time_fault(head, value)
    if fault:
        yield _finding(node, "TIME", fault)


def _handler(node: Node, head: str, most: int = 1) -> Iterator[Finding]:
    if node.kind in ("string", "other", "vector") or node.head() == "quote":
        yield _finding(node, "HANDLER", f"the handler of {head} is a procedure, such as (lambda () ...)")
    elif node.head() in ("lambda", "λ") and len(node.items) > 1 and node.items[1].kind == "list":
        formals = node.items[1]
        least = len(formals.items) - (1 if formals.dotted else 0)
        if least > most and all(item.kind == "symbol" for item in formals.items):
            count = "one argument or none" if most == 1 else f"at most {most} arguments"
            yield _finding(node, "HANDLER", f"the handler of {head} is called with {count}, not {least}")


def _finding(node: Node, rule: str, message: str, severity: Severity = Severity.ERROR) -> Finding:
    return Finding(node.line, node.column, rule, message, severity)
