"""Scheme's data with their places, as the engine's own reader takes them. For texts that compile; others end early."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_ATOM_END = re.compile(r"[\s()\[\]\";']")
_LANG = re.compile(r"#lang +\S+")
_CLOSE = {"(": ")", "[": "]"}
_PREFIXES = ((",@", "unquote-splicing"), (",", "unquote"), ("'", "quote"), ("`", "quasiquote"))


@dataclass(slots=True)
class Node:
    """A datum. `kind` is list, vector, symbol, string or other (numbers, characters, booleans); `dotted` if the last
    item of a list comes after a dot."""

    kind: str
    line: int
    column: int
    text: str = ""
    items: list[Node] = field(default_factory=list)
    dotted: bool = False

    def head(self) -> str:
        """Return the symbol that a list begins with, else ""."""
        return self.items[0].text if self.kind == "list" and self.items and self.items[0].kind == "symbol" else ""


class _EndError(Exception):
    pass


class _Reader:
    def __init__(self, source: str) -> None:
        self._source, self._at = source, 0
        if source.startswith("#!"):
            self._at = source.find("\n") if "\n" in source else len(source)
        elif lang := _LANG.match(source):
            self._at = lang.end()
        self._line, self._start, self._seen = 1, 0, 0

    def _place(self) -> tuple[int, int]:
        lines = self._source.count("\n", self._seen, self._at)
        if lines:
            self._line += lines
            self._start = self._source.rfind("\n", self._seen, self._at) + 1
        self._seen = self._at
        return self._line, self._at - self._start + 1

    def skip(self) -> None:
        """Blanks and comments."""
        source = self._source
        while self._at < len(source):
            if source[self._at].isspace():
                self._at += 1
            elif source[self._at] == ";":
                end = source.find("\n", self._at)
                self._at = len(source) if end < 0 else end
            elif source.startswith("#|", self._at):
                self._skip_block()
            elif source.startswith("#;", self._at):
                self._at += 2
                self.datum()
            else:
                return

    def _skip_block(self) -> None:
        depth, self._at = 1, self._at + 2
        while depth:
            found = re.compile(r"\|#|#\|").search(self._source, self._at)
            if not found:
                raise _EndError
            depth += 1 if found[0] == "#|" else -1
            self._at = found.end()

    def more(self) -> bool:
        """Return whether a datum follows."""
        self.skip()
        return self._at < len(self._source)

    def datum(self) -> Node:
        """Return the next datum; raise _EndError at the end."""
        if not self.more():
            raise _EndError
        source, (line, column) = self._source, self._place()
        c = source[self._at]
        if c in "([":
            self._at += 1
            return self._sequence(Node("list", line, column), _CLOSE[c])
        if source.startswith("#(", self._at) or source.startswith("#u8(", self._at):
            self._at = source.index("(", self._at) + 1
            return self._sequence(Node("vector", line, column), ")")
        for prefix, name in _PREFIXES:
            if source.startswith(prefix, self._at):
                self._at += len(prefix)
                return Node("list", line, column, items=[Node("symbol", line, column, name), self.datum()])
        if c in '"|':
            return self._quoted(line, column, c)
        if c in ")]":
            raise _EndError
        return self._atom(line, column)

    def _sequence(self, node: Node, close: str) -> Node:
        while True:
            if not self.more():
                raise _EndError
            if self._source[self._at] == close:
                self._at += 1
                return node
            if self._source[self._at] == "." and _ATOM_END.match(self._source, self._at + 1):
                self._at += 1
                node.dotted = True
                continue
            node.items.append(self.datum())

    def _quoted(self, line: int, column: int, quote: str) -> Node:
        start = self._at + 1
        at = start
        while at < len(self._source) and self._source[at] != quote:
            at += 2 if self._source[at] == "\\" else 1
        if at >= len(self._source):
            raise _EndError
        self._at = at + 1
        return Node("string" if quote == '"' else "symbol", line, column, self._source[start:at])

    def _atom(self, line: int, column: int) -> Node:
        start = self._at
        if self._source.startswith("#\\", start):
            self._at += 3
        found = _ATOM_END.search(self._source, max(self._at, start + 1))
        self._at = found.start() if found else len(self._source)
        text = self._source[start : self._at]
        number = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?(/\d+)?|[+-](inf|nan)\.0", text)
        return Node("other" if text.startswith("#") or number else "symbol", line, column, text)


def read(source: str) -> list[Node]:
    """Return the data of a text, as far as they can be read."""
    reader, found = _Reader(source), []
    try:
        while reader.more():
            found.append(reader.datum())
    except (_EndError, RecursionError):
        pass
    return found
