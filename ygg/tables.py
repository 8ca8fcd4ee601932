"""Lay out tables as lines of text that fit a terminal. Pure. The first layout that fits is used:

1. every column is as wide as its widest cell;
2. cells wrap between words; no column is narrower than its longest word;
3. optional columns are dropped, the least important first;
4. each row becomes a card with a line per cell. A two-column table (label and value) stays a table, and words that are
   too long are broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

GAP = 2
MIN_WRAPPED = 16
"""Minimum width of a wrapped column, in characters."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A table ready to print; the first `header` lines are the header, `dropped` columns did not fit."""

    lines: list[str]
    header: int = 0
    dropped: tuple[str, ...] = ()


def layout(
    columns: Sequence[str], rows: Iterable[Sequence[str]], width: int | None, *, optional: Sequence[str] = ()
) -> Layout:
    """Lay out a table in `width` characters (None: unlimited); `optional` lists the least important column first."""
    table = [list(columns), *(list(row) for row in rows)]
    droppable = [name for name in optional if name in columns]
    for count in range(len(droppable) + 1):
        dropped = tuple(droppable[:count])
        shown = [[row[at] for at, name in enumerate(columns) if name not in dropped] for row in table]
        widths = _widths(shown, width)
        if widths is not None:
            header = list(_row(shown[0], widths))
            return Layout([*header, *(line for row in shown[1:] for line in _row(row, widths))], len(header), dropped)
    return Layout(list(_cards(columns, table[1:], width or 0)))


def flow(
    parts: Iterable[str], width: int | None, *, first: str = "", indent: int = 4, hang: int = 4, heading: bool = False
) -> list[str]:
    """Join parts with three spaces, as many per line as fit; `first` starts the first line, the rest is indented.

    A part longer than a line wraps between words; words are never broken, since a digest or an address must stay
    copyable. With `heading`, `first` gets a line of its own unless all parts fit beside it.
    """
    parts = list(parts)
    whole = "   ".join([first, *parts])
    if heading and width is not None and cell_len(whole) > width:
        return [first.rstrip(), *(" " * indent + line for line in flow(parts, width - indent, indent=0, hang=2))]
    lines, line = [], first
    for part in parts:
        joined = f"{line}   {part}" if line.strip() else f"{line}{part}"
        if width is None or cell_len(joined) <= width or not line.strip():
            line = joined
            continue
        lines.append(line)
        line = " " * indent + part
    return [piece for whole in [*lines, line] for piece in _hanging(whole, width, max(indent, hang))]


def wrap(text: str, width: int, *, cut: bool = True) -> list[str]:
    """Wrap text between words to lines of at most `width`; a longer word is broken, or without `cut` overflows."""
    lines, line = [], ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if cell_len(joined) <= width:
            line = joined
            continue
        lines += [line] if line else []
        *full, line = _cut(word, width) if cut else [word]
        lines += full
    return [*lines, line]


def _hanging(line: str, width: int | None, indent: int) -> Iterator[str]:
    if width is None or cell_len(line) <= width:
        yield line.rstrip()
        return
    start = len(line) - len(line.lstrip())
    head, *rest = wrap(line.strip(), max(1, width - max(start, indent)), cut=False)
    yield " " * start + head.rstrip()
    yield from (" " * max(start, indent) + piece.rstrip() for piece in rest)


def _widths(table: Sequence[Sequence[str]], width: int | None) -> list[int] | None:
    """Return the width of each column; None if they do not fit."""
    natural = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    room = None if width is None else width - GAP * (len(natural) - 1)
    if room is None or sum(natural) <= room:
        return natural
    words = [max(cell_len(word) for cell in column for word in cell.split(" ")) for column in zip(*table, strict=True)]
    minimum = [max(word, min(full, MIN_WRAPPED)) for word, full in zip(words, natural, strict=True)]
    spare = room - sum(minimum)
    if spare < 0 and len(natural) == 2 and room - natural[0] >= MIN_WRAPPED:
        return [natural[0], room - natural[0]]
    if spare < 0:
        return None
    missing = [full - least for full, least in zip(natural, minimum, strict=True)]
    return [least + spare * lacks // sum(missing) for least, lacks in zip(minimum, missing, strict=True)]


def _row(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    wrapped = [wrap(cell, max(1, width)) for cell, width in zip(cells, widths, strict=True)]
    for number in range(max(map(len, wrapped), default=0)):
        pieces = [cell[number] if number < len(cell) else "" for cell in wrapped]
        padded = [piece + " " * (width - cell_len(piece)) for piece, width in zip(pieces, widths, strict=True)]
        yield (" " * GAP).join(padded).rstrip()


def _cards(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    label = max(map(cell_len, columns), default=0) + GAP
    for number, row in enumerate(rows):
        if number:
            yield ""
        for name, cell in zip(columns, row, strict=True):
            if cell in ("", "-"):
                continue
            head, *rest = wrap(cell, max(1, width - label))
            yield f"{name}{' ' * (label - cell_len(name))}{head}"
            yield from (" " * label + piece for piece in rest)


def _cut(word: str, width: int) -> list[str]:
    pieces, piece = [], ""
    for char in word:
        if piece and cell_len(piece + char) > width:
            pieces.append(piece)
            piece = ""
        piece += char
    return [*pieces, piece]
