"""Output of commands: tables and lines for a terminal, JSON for scripts, untrusted text made printable.

Results go to standard output, remarks and errors to standard error.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from services.domain.ids import printable

if TYPE_CHECKING:
    from rich.console import Console

MAX_CELL = 200


def safe(text: object, limit: int = MAX_CELL) -> str:
    """Return untrusted text with unprintable characters escaped, at most `limit` characters."""
    return printable(str(text), limit)


def to_json(data: Any, stream: TextIO, *, indent: int | None = None) -> str:
    """Return JSON in characters that `stream` can encode; a lone surrogate is escaped."""
    unicode = (stream.encoding or "utf-8").lower().startswith("utf")
    return json.dumps(data, indent=indent, ensure_ascii=not unicode)


class Output:
    """Prints results as text or, with `as_json`, as JSON."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    @cached_property
    def console(self) -> Console:
        """Standard output."""
        from rich.console import Console

        return Console(highlight=False, soft_wrap=True)

    @property
    def width(self) -> int | None:
        """Width of the terminal in columns, None if unlimited: wrapped cells would break `awk`."""
        return terminal_width()

    @cached_property
    def remarks(self) -> Console:
        """Standard error."""
        from rich.console import Console

        return Console(highlight=False, soft_wrap=True, stderr=True)

    def json(self, data: Any) -> None:
        """Print a JSON document: indented on a terminal, otherwise on one line."""
        indent = 2 if sys.stdout.isatty() else None
        sys.stdout.write(to_json(data, sys.stdout, indent=indent) + "\n")

    def record(self, data: Any) -> None:
        """Print a line of NDJSON and flush it."""
        sys.stdout.write(to_json(data, sys.stdout) + "\n")
        sys.stdout.flush()

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line of text; markup in it is not interpreted."""
        from rich.text import Text

        self.console.print(Text(text, style=style))

    def prose(self, *parts: str, style: str = "") -> None:
        """Print parts on one line, or wrapped between parts and words with a hanging indent on a narrow terminal."""
        from ygg import tables

        for line in tables.flow(parts, self.width):
            self.line(line, style)

    def remark(self, text: str, style: str = "") -> None:
        """Print a line on standard error."""
        from rich.text import Text

        self.remarks.print(Text(text, style=style))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, optional: Sequence[str] = ()) -> None:
        """Print a table that fits the terminal; `optional` columns are dropped first on a narrow one."""
        from ygg import tables

        found = tables.layout(columns, rows, self.width, optional=optional)
        for lines, style in ((found.lines[: found.header], "bold"), (found.lines[found.header :], "")):
            if lines:
                self.line("\n".join(lines), style)
        if found.dropped:
            self.remark(f"columns hidden: {', '.join(found.dropped)}; --json shows all", "dim")


def terminal_width() -> int | None:
    """Return the width of the terminal on standard output; None for a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun: `1 device`, `2 devices`, `1,000 entries`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def size(count: int) -> str:
    """Return a size in bytes as `512 bytes`, `1.5 kB`, `12.3 MB` or `8.0 GB` (powers of 1000)."""
    if count < 1000:
        return counted(count, "byte")
    value, unit = count / 1000, "kB"
    for larger in ("MB", "GB", "TB"):
        if value < 999.95:
            break
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """Return a duration in its largest unit: `now`, `40 s`, `4 min`, `3 h`, `12 d`."""
    if seconds < 2:
        return "now"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (unit == "min" and seconds >= 120):
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
