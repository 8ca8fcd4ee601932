"""Lua: undefined names, unknown operations of the host, calls that no contract has, schedules.

Reads tokens, not a tree: a name counts as defined if the script defines it anywhere. So a finding is an error, and
something wrong may be missed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from services.domain.values import Value
from services.loki.lint import declared, operations, waits
from services.loki.lint.contracts import Contracts
from services.loki.lint.findings import Finding, Severity
from services.loki.lint.lua_tokens import Token, tokens
from services.loki.lint.names import DEVICE_METHODS, LUA_GLOBALS, LUA_MEMBERS, LUA_TEST_GLOBALS
from services.loki.lint.schedules import schedule

_END = Token("end", "", 0, 0)
_OPENS = frozenset(("function", "do", "if", "repeat"))
_WHAT = {"read": "read", "write": "write", "call": "call"}
_HOST_TABLES = frozenset(("json", "log", "store", "ygg"))
_OPERATORS = ("+", "-", "*", "/", "//", "%", "^", "..", "<", ">", "<=", ">=", "==", "~=")
_PRESENCE = frozenset(("online", "offline"))


def lint(source: str, contracts: Contracts) -> list[Finding]:
    """Return the findings, in no order."""
    return list(_Lua(list(tokens(source)), contracts, declared.packages(source)).findings())


class _Lua:
    def __init__(self, found: list[Token], contracts: Contracts, packages: Collection[str]) -> None:
        self._tokens, self._contracts, self._packages = found, contracts, packages
        self._inside, self._top = self._insides()
        self._defined = set(self._definitions())
        self._extended = frozenset(self._extensions())
        self._handlers = operations.Handlers()

    def _at(self, index: int) -> Token:
        return self._tokens[index] if 0 <= index < len(self._tokens) else _END

    def _is(self, index: int, *texts: str) -> bool:
        token = self._at(index)
        return token.kind in ("op", "keyword") and token.text in texts

    def _insides(self) -> tuple[list[str], list[bool]]:
        """For each token its context (`{` is a table, all else statements or expressions), and whether that is
        outside of all functions, loops and branches."""
        stack, inside, top, blocks = [""], list[str](), list[bool](), 0
        for token in self._tokens:
            is_word = token.kind in ("op", "keyword")
            if is_word and token.text in ("end", "until", ")", "]", "}") and len(stack) > 1:
                blocks -= stack.pop() in _OPENS
            inside.append(stack[-1])
            top.append(blocks == 0)
            if is_word and (token.text in _OPENS or token.text in ("(", "[", "{")):
                stack.append(token.text)
                blocks += token.text in _OPENS
        return inside, top

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
        """Return the plain names to the left of an assignment."""
        n -= 1
        while self._at(n).kind == "name" and not self._is(n - 1, ".", ":"):
            yield self._at(n).text
            if not self._is(n - 1, ","):
                return
            n -= 2

    def findings(self) -> Iterator[Finding]:
        """Return all findings of the text."""
        for n, token in enumerate(self._tokens):
            if token.kind == "name" and not self._is(n - 1, ".", ":", "::", "goto") and not self._key(n):
                yield from self._used(n, token)
        yield from waits.lua(self._tokens, self._defined)

    def _key(self, n: int) -> bool:
        return self._inside[n] == "{" and self._is(n + 1, "=") and self._is(n - 1, "{", ",", ";")

    def _used(self, n: int, token: Token) -> Iterator[Finding]:
        name = token.text
        if name in self._defined:
            return
        if name == "device":
            yield from self._device(n)
        elif name in LUA_MEMBERS and self._is(n + 1, ".", ":") and self._at(n + 2).kind == "name":
            yield from self._member(n, name)
        elif name.startswith(("read_", "set_")):
            yield from self._contract(token, self._contracts.convenience(name) if self._contracts else "")
        elif name not in LUA_GLOBALS and name not in LUA_TEST_GLOBALS:
            message = f"{name} is defined nowhere, so it is nil"
            yield _finding(token, "UNDEFINED", message, Severity.WARNING)
        elif name == "require":
            yield from self._required(n)
        else:
            yield from self._operation(n, name)

    def _member(self, n: int, table: str) -> Iterator[Finding]:
        """`ygg.publish`, `store.b = 6`, `string.split`."""
        member = self._at(n + 2)
        is_known = member.text in LUA_MEMBERS[table]
        if table in _HOST_TABLES and self._is(n + 3, "=") and (table == "store" or not is_known):
            instead = f'; write store("{member.text}", VALUE)' if table == "store" else ""
            yield _finding(member, "WRITE", f"{table}.{member.text} cannot be set with ={instead}")
        elif not is_known and (table, member.text) not in self._extended:
            have = ", ".join(sorted(LUA_MEMBERS[table]))
            yield _finding(member, "UNKNOWN_CALL", f"{table} has no {member.text}; it has {have}")
        elif table == "ygg":
            yield from self._operation(n + 2, "event" if member.text == "on" else member.text)

    def _extensions(self) -> Iterator[tuple[str, str]]:
        """Return the members that the script adds to libraries of Lua."""
        for n, token in enumerate(self._tokens):
            given = self._is(n + 1, ".") and (self._is(n + 3, "=") or self._is(n - 1, "function"))
            if given and token.text in LUA_MEMBERS and token.text not in _HOST_TABLES:
                yield token.text, self._at(n + 2).text

    def _required(self, n: int) -> Iterator[Finding]:
        """`require("units")` and `require "units"`."""
        text = self._at(n + 2 if self._is(n + 1, "(") else n + 1)
        joined = self._is(n + 3, "..") or self._is(n + 2, "..")
        if text.kind == "string" and text.text not in self._packages and not joined:
            yield _finding(text, "NOT_DECLARED", declared.not_declared(text.text))

    def _given(self, n: int) -> list[list[Token]]:
        """Return the tokens of each argument of the call with its parenthesis at token `n`."""
        found, depth = list[list[Token]]([[]]), 0
        for at in range(n + 1, len(self._tokens)):
            token = self._tokens[at]
            is_word = token.kind in ("op", "keyword")
            if is_word and (token.text in _OPENS or token.text in ("(", "[", "{")):
                depth += 1
            elif is_word and token.text in ("end", "until", ")", "]", "}"):
                depth -= 1
            if depth < 0:
                break
            if depth == 0 and is_word and token.text == ",":
                found.append([])
            else:
                found[-1].append(token)
        return found if found != [[]] else []

    def _operation(self, n: int, operation: str) -> Iterator[Finding]:
        """every("tick", 1.5, f), `n` being the operation's name, `event` standing for ygg.on and device:on."""
        if not self._is(n + 1, "("):
            return
        at, given = self._at(n), self._given(n + 1)
        name = given[0][0] if given and len(given[0]) == 1 and given[0][0].kind == "string" else None
        if operation == "store" and (len(given) < 2 or [t.text for t in given[1]] == ["nil"]):
            key = name.text if name else "KEY"
            yield _finding(at, "NOTHING", f'{operations.STORE_NOTHING}; to forget it write store.delete("{key}")')
        if operation == "on":
            operation = "event" if name and ("." in name.text or name.text in _PRESENCE) else "own"
        if name:
            yield from self._named(operation, name, top=self._top[n])
        if operation in operations.TIMERS and len(given) > 1:
            yield from self._time(operation, given[1])
        yield from self._handler(at, operation, given)

    def _named(self, operation: str, name: Token, *, top: bool) -> Iterator[Finding]:
        fault = operations.name_fault(operation, name.text)
        if fault:
            yield _finding(name, "NAME", fault)
            return
        path = operations.event_name(name.text)
        if path and self._contracts and operation in ("event", "own"):
            missing = self._contracts.path(path, "event")
            if operation == "event":
                yield from self._contract(name, missing)
            elif not missing:
                message = f"{name.text} is an own event; the device's is {path}"
                yield _finding(name, "NAME", message, Severity.WARNING)
        if top and operation in (*operations.TIMERS, "own", "event", "subscribe"):
            again = self._handlers.second(operation, name.text, name.line)
            if again:
                yield _finding(name, "SECOND", again, Severity.WARNING)

    def _time(self, operation: str, given: list[Token]) -> Iterator[Finding]:
        negative = len(given) == 2 and given[0].text == "-"
        known, value = _literal(given[-1]) if len(given) == 1 or negative else (False, None)
        if not known:
            return
        if operation == "cron" and isinstance(value, str):
            yield schedule(value, given[-1].line, given[-1].column)
            return
        if negative and isinstance(value, int | float):
            value = -value
        fault = operations.time_fault(operation, value)
        if fault:
            yield _finding(given[0], "TIME", fault)

    def _handler(self, at: Token, operation: str, given: list[list[Token]]) -> Iterator[Finding]:
        place = {**operations.HANDLER_AT, "own": 1, "event": 1}.get(operation)
        if place is None:
            return
        handler = given[place] if len(given) > place else []
        literal = len(handler) == 1 and (
            handler[0].kind in ("string", "number") or handler[0].text in ("nil", "true", "false")
        )
        if not handler or literal or handler[0].text == "{":
            message = f"{at.text} takes a function as its {('second', 'third')[place - 1]} argument"
            yield _finding(at, "HANDLER", message)

    def _device(self, n: int) -> Iterator[Finding]:
        member = self._at(n + 2)
        if not self._is(n + 1, ".", ":") or member.kind != "name":
            return
        name, is_method = member.text, self._is(n + 1, ":")
        if self._is(n + 3, "="):
            message = f"device.{name} cannot be set with =; a property is written with device:write(PATH, VALUE)"
            yield _finding(member, "WRITE", message)
        elif name.startswith(("read_", "set_")):
            yield from self._contract(member, self._contracts.convenience(name) if self._contracts else "")
        elif is_method or name in DEVICE_METHODS:
            if not is_method and self._is(n + 3, "(") and self._at(n + 4).text != "device":
                yield _finding(member, "METHOD", f"{name} is a method: write device:{name}(...), with a colon")
            yield from self._method(n, member)
        elif name != "id":
            yield from self._capability(n, member)

    def _method(self, n: int, method: Token) -> Iterator[Finding]:
        if method.text not in DEVICE_METHODS:
            have = ", ".join(sorted(DEVICE_METHODS))
            yield _finding(method, "UNKNOWN_CALL", f"a device has no method {method.text}; it has {have}")
            return
        text = self._at(n + 4)
        what = _WHAT.get(method.text)
        if method.text == "on":
            yield from self._operation(n + 2, "event")
        whole = text.kind == "string" and self._is(n + 3, "(") and self._is(n + 5, ",", ")")
        if not self._contracts or not what or not whole:
            return
        fault = self._contracts.path(text.text, what)
        yield from self._contract(text, fault)
        if not fault and what == "call" and self._is(n + 6, "{"):
            yield from self._arguments(n + 6, text.text)

    def _capability(self, n: int, capability: Token) -> Iterator[Finding]:
        fault = self._contracts.capability(capability.text) if self._contracts else ""
        yield from self._contract(capability, fault)
        member = self._at(n + 4)
        if fault or not self._is(n + 3, ".", ":") or member.kind != "name":
            return
        path = f"{capability.text}.{member.text}"
        fault = self._contracts.path(path, "member") if self._contracts else ""
        yield from self._contract(member, fault)
        if not fault:
            yield from self._spelled(n, member, path)
        if not self._contracts:
            return
        brace = n + 6 if self._is(n + 5, "(") else n + 5
        if not fault and self._is(brace, "{"):
            yield from self._arguments(brace, path)
        elif not fault and brace == n + 6 and self._is(brace + 1, ")"):
            known, value = _literal(self._at(brace))
            if known:
                fault = self._contracts.value(path, value)
                yield from self._contract(self._at(brace), fault, "ARGUMENT_NOT_IN_CONTRACT")

    def _spelled(self, n: int, member: Token, path: str) -> Iterator[Finding]:
        """device.led0:on(), device.led0.brightness = 7, device.temp0.celsius > 20."""
        if self._is(n + 3, ":"):
            yield _finding(member, "METHOD", f"{path} is not a method: write device.{path}(...), with a dot")
        elif self._is(n + 5, "="):
            yield _finding(member, "WRITE", f"{path} cannot be set with =; write device.{path}(VALUE)")
        elif self._is(n + 5, "(", "{") or self._at(n + 5).kind == "string":
            return
        elif self._is(n + 5, *_OPERATORS) or self._is(n - 1, *_OPERATORS):
            yield _finding(member, "NOT_CALLED", f"{path} is a function: write device.{path}() for its value")

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
    """Return whether a token is a literal, and its value."""
    if token.kind == "string" and "\\" not in token.text:
        return True, token.text
    if token.kind == "keyword" and token.text in ("true", "false"):
        return True, token.text == "true"
    if token.kind == "number" and not token.text.lower().startswith("0x"):
        return True, int(token.text) if token.text.isdigit() else float(token.text)
    return False, None


def _finding(token: Token, rule: str, message: str, severity: Severity = Severity.ERROR) -> Finding:
    return Finding(token.line, token.column, rule, message, severity)
