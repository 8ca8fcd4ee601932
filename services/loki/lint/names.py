"""The names that scripts find there. Scheme's come from the engine's own list; Lua's stand here; a test compares."""

from __future__ import annotations

import functools
from pathlib import Path

from services.loki.lint.dialect import Dialect
from services.loki.lint.scheme_reader import Node, read

_BINDINGS = Path(__file__).parents[1] / "engines" / "scheme" / "ygg" / "bindings.scm"

LUA_MEMBERS: dict[str, frozenset[str]] = {
    name: frozenset(members.split())
    for name, members in {
        "coroutine": "close create isyieldable resume running status wrap yield",
        "json": "array decode encode null",
        "log": "debug error info warn",
        "math": "abs acos asin atan ceil cos deg exp floor fmod huge log max maxinteger min mininteger modf pi rad"
        " random randomseed sin sqrt tan tointeger type ult",
        "os": "clock date difftime time",
        "store": "delete keys load save",
        "string": "byte char find format gmatch gsub len lower match pack packsize rep reverse sub unpack upper",
        "table": "concat insert move pack remove sort unpack",
        "utf8": "char charpattern codepoint codes len offset",
        "ygg": "after cancel cron device devices emit every log memory_info on publish sleep store subscribe time"
        " uptime",
    }.items()
}
_LUA_PLAIN = """
    _G _VERSION after args assert cancel collectgarbage cron device emit error every format getmetatable ipairs load
    memory_info next on pairs pcall print publish rawequal rawget rawlen rawset require select setmetatable sleep
    subscribe time tonumber tostring type uptime warn xpcall
"""
LUA_GLOBALS = frozenset(_LUA_PLAIN.split()) | frozenset(LUA_MEMBERS)
_TEST_NAMES = ("test", "board", "subject", "advance", "event", "message", "published", "reported")
LUA_TEST_GLOBALS = frozenset((*_TEST_NAMES, "expect_equal", "expect_true", "expect_error"))
DEVICE_METHODS = frozenset(["call", "capabilities", "info", "on", "read", "sensors", "twin", "twin_update", "write"])
SCHEME_TEST_NAMES = frozenset((*_TEST_NAMES, "expect-equal", "expect-true", "expect-error"))


@functools.cache
def scheme_names(dialect: Dialect) -> frozenset[str]:
    """Return every name that a Scheme script of a dialect finds there."""
    common = _listed("groups")
    return common | _listed("steel-groups") if dialect is Dialect.STEEL else common


def _listed(name: str) -> frozenset[str]:
    for form in read(_BINDINGS.read_text()):
        if form.head() == "define" and len(form.items) == 3 and form.items[1].text == name:
            return frozenset(_names(form.items[2].items[1]))  # the quoted names
    raise ValueError(f"{_BINDINGS} has no list {name}")


def _names(groups: Node) -> list[str]:
    found = []
    for group in groups.items:
        for entry in group.items[2:]:
            found.append(entry.items[-1].text if entry.items else entry.text)
    return found
