"""The declarations in the head of a text: `-- @depends units 1.0.0`, in its first comments, read as packages are."""

from __future__ import annotations

import re

_COMMENT = re.compile(r"\s*(?:--+|;+)\s?(.*)")
_DEPENDS = re.compile(r"@depends\s+(\S+)(?:\s+(\S+))?\s*\Z")


def packages(source: str) -> dict[str, str]:
    """Return the packages that it names there, each with its least version or ""."""
    found: dict[str, str] = {}
    for number, line in enumerate(source.splitlines()):
        comment = _COMMENT.fullmatch(line)
        if number == 0 and line.startswith(("#!", "#lang ")):
            continue
        if not comment:
            break
        if depends := _DEPENDS.match(comment[1].strip()):
            found[depends[1]] = depends[2] or ""
    return found


def not_declared(name: str) -> str:
    """Return the finding for a package that is named and not declared."""
    return f"the package {name} is not declared; write @depends {name} VERSION in the first comments"
