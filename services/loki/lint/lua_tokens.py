"""Lua's tokens with their places. Reference: Lua 5.4 manual, section 3.1. For texts that compile; others end early."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

KEYWORDS = frozenset(
    (
        *(
            "and",
            "break",
            "do",
            "else",
            "elseif",
            "end",
            "false",
            "for",
            "function",
            "goto",
            "if",
            "in",
            "local",
            "nil",
        ),
        *("not", "or", "repeat", "return", "then", "true", "until", "while"),
    )
)
_SPACE = re.compile(r"\s+|--(?!\[=*\[)[^\n]*")
_LONG = re.compile(r"(--)?\[(=*)\[")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F.]+(?:[pP][+-]?\d+)?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r"\.\.\.|\.\.|<<|>>|//|==|~=|<=|>=|::|[-+*/%^#&~|<>=(){}\[\];:,.]")
_QUOTED = re.compile(r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)
_KINDS = (("string", _QUOTED), ("number", _NUMBER), ("name", _NAME), ("op", _OPERATOR))


class Token(NamedTuple):
    """`kind` is name, keyword, string, number or op; the text of a string is without its quotes."""

    kind: str
    text: str
    line: int
    column: int


def tokens(source: str) -> Iterator[Token]:
    """Return every token, in order; blanks and comments are left out."""
    at, line, start = 0, 1, 0
    if source.startswith("#"):
        at = source.find("\n") if "\n" in source else len(source)
    while at < len(source):
        kind, text, end = _next(source, at)
        if not end:
            return
        if kind:
            yield Token(kind, text, line, at - start + 1)
        lines = source.count("\n", at, end)
        if lines:
            line, start = line + lines, source.rfind("\n", at, end) + 1
        at = end


def last_return(source: str) -> int:
    """The line of the one `return` of a text that stands outside of functions, 0 if there are several or none."""
    lines, blocks = list[int](), list[str]()
    for token in tokens(source):
        if token.kind != "keyword":
            continue
        if token.text in ("function", "do", "if", "repeat"):
            blocks.append(token.text)
        elif token.text in ("end", "until") and blocks:
            blocks.pop()
        elif token.text == "return" and "function" not in blocks:
            lines.append(token.line)
    return lines[0] if len(lines) == 1 else 0


def _next(source: str, at: int) -> tuple[str, str, int]:
    """Return kind, text and end of the token at `at`; kind "" for an invalid token, end 0 at the end."""
    if found := _SPACE.match(source, at):
        return "", "", found.end()
    if found := _LONG.match(source, at):
        close = source.find(f"]{found[2]}]", found.end())
        if close < 0:
            return "", "", 0
        return "" if found[1] else "string", source[found.end() : close], close + len(found[2]) + 2
    for kind, pattern in _KINDS:
        if found := pattern.match(source, at):
            return _of(kind, found)
    return "", "", 0


def _of(kind: str, found: re.Match[str]) -> tuple[str, str, int]:
    text = found[0]
    if kind == "name" and text in KEYWORDS:
        kind = "keyword"
    return kind, text[1:-1] if kind == "string" else text, found.end()
