"""Lua: undefined names, unknown operations of the host, calls that no contract has, schedules.

Reads tokens, not a tree: a name counts as defined where the script defines it anywhere. So what is found is wrong, and
something wrong may be missed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from services.domain.values import Value
from services.loki.lint import declared
from services.loki.lint.contracts import Contracts
from services.loki.lint.findings import Finding, Severity
from services.loki.lint.lua_tokens import Token, tokens
from services.loki.lint.names import DEVICE_METHODS, LUA_GLOBALS, LUA_MEMBERS, LUA_TEST_GLOBALS
from services.loki.lint.schedules import schedule

_END = Token("end", "", 0, 0)
_OPENS = frozenset(("function", "do", "if", "repeat"))
_WHAT = {"read": "read", "write": "write", "call": "call", "on": "event"}
_PRESENCE = frozenset(("online", "offline"))


def lint(source: str, contracts: Contracts) -> list[Finding]:
    """The findings, in no order."""
    return list(_Lua(list(tokens(source)), contracts, declared.packages(source)).findings())


class _Lua:
    def __init__(self, found: list[Token], contracts: Contracts, packages: Collection[str]) -> None:
        self._tokens, self._contracts, self._packages = found, contracts, packages
        self._inside = list(self._insides())
        self._defined = set(self._definitions())

    def _at(self, index: int) -> Token:
        return self._tokens[index] if 0 <= index < len(self._tokens) else _END

    def _is(self, index: int, *texts: str) -> bool:
        token = self._at(index)
        return token.kind in ("op", "keyword") and token.text in texts

    def _insides(self) -> Iterator[str]:
        """For each token what it stands in: `{` is a table, all else is statements or expressions."""
        stack = [""]
        for token in self._tokens:
            opens = token.kind in ("op", "keyword") and (token.text in _OPENS or token.text in ("(", "[", "{"))
            closes = token.kind in ("op", "keyword") and token.text in ("end", "until", ")", "]", "}")
            if closes and len(stack) > 1:
                stack.pop()
            yield stack[-1]
            if opens:
                stack.append(token.text)

    def _definitions(self) -> Iterator[str]:
        for n, token in enumerate(self._tokens):
            if token.text == "function" and token.kind == "keyword":
                yield from self._parameters(n)
            elif token.text in ("local", "for") and token.kind == "keyword":
                yield from self._list(n + 1)
            elif self._is(n, "=") and self._inside[n] != "{":
                yield from self._targets(n)

    def _parameters(self, n: int) -> Iterator[str]:
        if self._at(n + 1).kind == "name":
            yield self._at(n + 1).text
        while n < len(self._tokens) and not self._is(n, "("):
            n += 1
        yield from self._list(n + 1)

    def _list(self, n: int) -> Iterator[str]:
        """`a, b <const>, ...`"""
        while self._at(n).kind == "name" or self._is(n, ",", "<", ">"):
            if self._at(n).kind == "name":
                yield self._at(n).text
            n += 1

    def _targets(self, n: int) -> Iterator[str]:
        """The plain names to the left of an assignment."""
        n -= 1
        while self._at(n).kind == "name" and not self._is(n - 1, ".", ":"):
            yield self._at(n).text
            if not self._is(n - 1, ","):
                return
            n -= 2

    def findings(self) -> Iterator[Finding]:
        """All of them."""
        for n, token in enumerate(self._tokens):
            if token.kind == "name" and not self._is(n - 1, ".", ":", "::", "goto") and not self._key(n):
                yield from self._used(n, token)

    def _key(self, n: int) -> bool:
        return self._inside[n] == "{" and self._is(n + 1, "=") and self._is(n - 1, "{", ",", ";")

    def _used(self, n: int, token: Token) -> Iterator[Finding]:
        name = token.text
        if name in self._defined:
            return
        if name == "device":
            yield from self._device(n)
        elif name in LUA_MEMBERS and self._is(n + 1, ".", ":") and self._at(n + 2).kind == "name":
            member = self._at(n + 2)
            if member.text not in LUA_MEMBERS[name]:
                have = ", ".join(sorted(LUA_MEMBERS[name]))
                yield _finding(member, "UNKNOWN_CALL", f"{name} has no {member.text}; it has {have}")
            elif name == "ygg":
                yield from self._schedule(n + 2)
        elif name.startswith(("read_", "set_")):
            yield from self._contract(token, self._contracts.convenience(name) if self._contracts else "")
        elif name not in LUA_GLOBALS and name not in LUA_TEST_GLOBALS:
            told = f"{name} is defined nowhere, so it is nil"
            yield _finding(token, "UNDEFINED", told, Severity.WARNING)
        elif name == "require":
            yield from self._required(n)
        else:
            yield from self._schedule(n)

    def _required(self, n: int) -> Iterator[Finding]:
        """`require("units")` and `require "units"`."""
        text = self._at(n + 2 if self._is(n + 1, "(") else n + 1)
        if text.kind == "string" and text.text not in self._packages:
            yield _finding(text, "NOT_DECLARED", declared.not_declared(text.text))

    def _schedule(self, n: int) -> Iterator[Finding]:
        """cron("noon", "0 12 * * *", …)"""
        text = self._at(n + 4)
        if self._at(n).text == "cron" and self._is(n + 1, "(") and text.kind == "string":
            yield schedule(text.text, text.line, text.column)

    def _device(self, n: int) -> Iterator[Finding]:
        member = self._at(n + 2)
        if not self._is(n + 1, ".", ":") or member.kind != "name":
            return
        name = member.text
        if name.startswith(("read_", "set_")):
            yield from self._contract(member, self._contracts.convenience(name) if self._contracts else "")
        elif self._is(n + 1, ":") or name in DEVICE_METHODS:
            yield from self._method(n, member)
        elif name != "id" and self._contracts:
            yield from self._capability(n, member)

    def _method(self, n: int, method: Token) -> Iterator[Finding]:
        if method.text not in DEVICE_METHODS:
            have = ", ".join(sorted(DEVICE_METHODS))
            yield _finding(method, "UNKNOWN_CALL", f"a device has no method {method.text}; it has {have}")
            return
        text = self._at(n + 4)
        what = _WHAT.get(method.text)
        if not self._contracts or not what or not self._is(n + 3, "(") or text.kind != "string":
            return
        if what == "event" and text.text in _PRESENCE:
            return
        fault = self._contracts.path(text.text, what)
        yield from self._contract(text, fault)
        if not fault and what == "call" and self._is(n + 6, "{"):
            yield from self._arguments(n + 6, text.text)

    def _capability(self, n: int, capability: Token) -> Iterator[Finding]:
        fault = self._contracts.capability(capability.text)
        yield from self._contract(capability, fault)
        member = self._at(n + 4)
        if fault or not self._is(n + 3, ".") or member.kind != "name":
            return
        path = f"{capability.text}.{member.text}"
        fault = self._contracts.path(path, "member")
        yield from self._contract(member, fault)
        brace = n + 6 if self._is(n + 5, "(") else n + 5
        if not fault and self._is(brace, "{"):
            yield from self._arguments(brace, path)
        elif not fault and brace == n + 6 and self._is(brace + 1, ")"):
            known, value = _literal(self._at(brace))
            if known:
                fault = self._contracts.value(path, value)
                yield from self._contract(self._at(brace), fault, "ARGUMENT_NOT_IN_CONTRACT")

    def _arguments(self, brace: int, path: str) -> Iterator[Finding]:
        n = brace + 1
        while n < len(self._tokens) and not self._is(n, "}"):
            name = self._at(n)
            if name.kind == "name" and self._is(n + 1, "=") and self._is(n + 3, ",", ";", "}"):
                known, value = _literal(self._at(n + 2))
                fault = self._contracts.arguments(path, {name.text: value}) if known else ""
                yield from self._contract(name, fault, "ARGUMENT_NOT_IN_CONTRACT")
            n += 1

    @staticmethod
    def _contract(token: Token, fault: str, rule: str = "NOT_IN_CONTRACT") -> Iterator[Finding]:
        if fault:
            yield _finding(token, rule, fault)


def _literal(token: Token) -> tuple[bool, Value]:
    """Whether a token is a literal, and its value."""
    if token.kind == "string" and "\\" not in token.text:
        return True, token.text
    if token.kind == "keyword" and token.text in ("true", "false"):
        return True, token.text == "true"
    if token.kind == "number" and not token.text.lower().startswith("0x"):
        return True, int(token.text) if token.text.isdigit() else float(token.text)
    return False, None


def _finding(token: Token, rule: str, message: str, severity: Severity = Severity.ERROR) -> Finding:
    return Finding(token.line, token.column, rule, message, severity)
