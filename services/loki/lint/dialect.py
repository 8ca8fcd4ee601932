"""Which dialect a Scheme text is in, by the rule of (ygg selection): steel unless it says otherwise. Pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable

from services.loki.lint.scheme_reader import Node, read

LANG = re.compile(r"#lang +(\S+)")
_SAID = re.compile(r";+\s*@dialect\s+(\S+)\s*")
_SETS = frozenset(("only", "except", "prefix", "rename"))


class Dialect(enum.Enum):
    """The dialects of Scheme."""

    R7RS = "r7rs"
    STEEL = "steel"


def stated(source: str) -> Dialect | None:
    """Return the dialect named in the first line or comments; None if they name no known dialect."""
    lang = LANG.match(source)
    said = lang[1] if lang else _in_comments(source)
    return Dialect(said) if said in (dialect.value for dialect in Dialect) else None


def of(source: str) -> Dialect:
    """Return the dialect of a text."""
    libraries = list(_imported(read(source)))
    if ["yggdrasil", "steel"] in libraries:
        return Dialect.STEEL
    found = stated(source)
    if found is not None:
        return found
    return Dialect.R7RS if any(name[:1] in (["scheme"], ["srfi"]) for name in libraries) else Dialect.STEEL


def without_lang(source: str) -> str:
    """Return the same text at the same places, without `#lang NAME` at its start."""
    lang = LANG.match(source)
    return " " * lang.end() + source[lang.end() :] if lang else source


def _in_comments(source: str) -> str:
    for number, line in enumerate(source.splitlines()):
        if not line.strip().startswith(";"):
            if number == 0 and line.startswith("#"):
                continue
            return ""
        if said := _SAID.fullmatch(line.strip()):
            return said[1]
    return ""


def _imported(forms: Iterable[Node]) -> Iterable[list[str]]:
    for form in forms:
        if form.head() == "import":
            yield from ([part.text for part in _root(item).items] for item in form.items[1:])


def _root(node: Node) -> Node:
    return _root(node.items[1]) if node.head() in _SETS and len(node.items) > 1 else node
