"""Host operations in places that cannot wait, so that they are rejected with CANNOT_WAIT_HERE.

Owns the two places that can be seen in a text: a `__tostring` of Lua, which only C code calls, and the test of a
`guard` clause of Scheme, which runs within C code when the error is one of Guile's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from services.loki.lint.findings import Finding, Severity
from services.loki.lint.lua_tokens import Token
from services.loki.lint.scheme_reader import Node

RULE = "CANNOT_WAIT_HERE"
_OPENS, _CLOSES = frozenset(("function", "do", "if", "repeat")), frozenset(("end", "until"))
_LUA_WORDS = "after cancel cron emit every on publish sleep store subscribe time uptime"
_SCHEME_WORDS = """
    after call cancel cancel-timer capabilities cron current-time device-info devices emit every find-devices led-off
    led-on led-state load mqtt-publish on on-any-event on-event property-read property-write! publish read-sensors
    schedule set-timer shadow-update sleep store store-delete store-keys subscribe twin twin-update! uptime
"""
_LUA_OPERATIONS, _SCHEME_OPERATIONS = frozenset(_LUA_WORDS.split()), frozenset(_SCHEME_WORDS.split())
_LUA_TOLD = "an operation cannot wait within __tostring and is refused there; do it before, and keep the text"
_SCHEME_TOLD = (
    "an operation is refused in a test of guard when the error is one of Scheme's own, such as that of (car 1);"
    " do it in the body of the clause"
)


def lua(tokens: Sequence[Token], defined: Collection[str]) -> Iterator[Finding]:
    """Operations within a function that is written as a `__tostring`; names in `defined` are the script's own."""
    for n, token in enumerate(tokens):
        if token.text == "__tostring" and token.kind in ("name", "string"):
            start = _function(tokens, n)
            if start is not None:
                yield from _within(tokens[start : _end(tokens, start)], defined)


def _function(tokens: Sequence[Token], n: int) -> int | None:
    """Return its start: `__tostring = function`, `["__tostring"] = function`, `function m.__tostring`."""
    after = [token.text for token in tokens[n + 1 : n + 4]]
    if after[:2] == ["=", "function"]:
        return n + 2
    if after == ["]", "=", "function"]:
        return n + 3
    before = [token.text for token in tokens[max(0, n - 3) : n]]
    return n - 3 if len(before) == 3 and before[0] == "function" and before[2] in (".", ":") else None


def _end(tokens: Sequence[Token], start: int) -> int:
    depth = 0
    for n in range(start, len(tokens)):
        if tokens[n].kind == "keyword":
            depth += (tokens[n].text in _OPENS) - (tokens[n].text in _CLOSES)
            if depth == 0:
                return n
    return len(tokens)


def _within(body: Sequence[Token], defined: Collection[str]) -> Iterator[Finding]:
    for n, token in enumerate(body):
        member = n > 0 and body[n - 1].kind == "op" and body[n - 1].text in (".", ":")
        if token.kind != "name" or member or token.text in defined:
            continue
        after = [follower.text for follower in body[n + 1 : n + 3]]
        called = after[:1] == ["("] and token.text in _LUA_OPERATIONS
        of_device = token.text == "device" and (after[:1] == [":"] or (after[:1] == ["."] and after[1:] != ["id"]))
        of_ours = token.text in ("ygg", "store") and after[:1] == ["."] and after[1:] != ["log"]
        if called or of_device or of_ours:
            yield Finding(token.line, token.column, RULE, _LUA_TOLD, Severity.WARNING)


def scheme(forms: Sequence[Node], defined: Collection[str]) -> Iterator[Finding]:
    """Operations in the tests of guard clauses; names in `defined` are the script's own."""
    for form in forms:
        if form.head() == "quote":
            continue
        if form.head() == "guard" and len(form.items) > 1:
            for clause in form.items[1].items[1:]:
                yield from _operations(clause.items[0], defined) if clause.items else ()
        yield from scheme(form.items, defined)


def _operations(node: Node, defined: Collection[str]) -> Iterator[Finding]:
    head = node.head()
    if head in _SCHEME_OPERATIONS and head not in defined:
        yield Finding(node.line, node.column, RULE, _SCHEME_TOLD, Severity.WARNING)
    elif head not in ("quote", "lambda"):
        for item in node.items:
            yield from _operations(item, defined)
