"""Small helpers for generated Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(`+[^`]*`+)")
_SPECIAL = re.compile(r"([\\<>*_\[\]{}|#~])")


def prose(text: str) -> str:
    """Return a comment as one paragraph of Markdown: code spans stay, everything else is escaped."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(part.replace("|", r"\|") if i % 2 else _SPECIAL.sub(r"\\\1", part) for i, part in enumerate(parts))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, or "" without rows. Cells are Markdown without line breaks."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines]) + "\n" if lines else ""
