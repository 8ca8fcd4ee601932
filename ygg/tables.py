"""Tables as lines of text that fit a terminal. Pure; does not print.

1. every column as wide as its cells, where the terminal is that wide;
2. else cells wrap between words, no column narrower than its longest word;
3. else the columns that the caller can do without go, the least important first;
4. else each row becomes a card: a line for each of its cells. Two columns, a label and its value, stay a table: only
   there a word that is too long is cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

GAP = 2
MIN_WRAPPED = 16
"""A column that has to wrap keeps this many characters: a word a line is no table."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A table ready to print; the first `header` lines are headers, and `dropped` columns had no room."""

    lines: list[str]
    header: int = 0
    dropped: tuple[str, ...] = ()


def layout(
    columns: Sequence[str], rows: Iterable[Sequence[str]], width: int | None, *, optional: Sequence[str] = ()
) -> Layout:
    """Lay out a table in `width` characters (None: as wide as it needs); `optional` columns, least important first."""
    table = [list(columns), *(list(row) for row in rows)]
    leaving = [name for name in optional if name in columns]
    for count in range(len(leaving) + 1):
        dropped = tuple(leaving[:count])
        shown = [[row[at] for at, name in enumerate(columns) if name not in dropped] for row in table]
        widths = _widths(shown, width)
        if widths is not None:
            header = list(_row(shown[0], widths))
            return Layout([*header, *(line for row in shown[1:] for line in _row(row, widths))], len(header), dropped)
    return Layout(list(_cards(columns, table[1:], width or 0)))


def flow(
    parts: Iterable[str], width: int | None, *, first: str = "", indent: int = 4, hang: int = 4, heading: bool = False
) -> list[str]:
    """Parts three spaces apart, as many a line as fit; `first` begins the first line, the others are indented.

    A part that is longer than a line goes on below, between words; no word is broken, for it may be a digest or an
    address to copy. A `heading` stands alone where not all fit beside it.
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
    """Text in lines of at most `width`, between words; a longer word is cut, or without `cut` longer than its line."""
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
    """A width for each column; None where they have no room."""
    natural = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    room = None if width is None else width - GAP * (len(natural) - 1)
    if room is None or sum(natural) <= room:
        return natural
    words = [max(cell_len(word) for cell in column for word in cell.split(" ")) for column in zip(*table, strict=True)]
    least = [max(word, min(wanted, MIN_WRAPPED)) for word, wanted in zip(words, natural, strict=True)]
    spare = room - sum(least)
    if spare < 0 and len(natural) == 2 and room - natural[0] >= MIN_WRAPPED:
        return [natural[0], room - natural[0]]
    if spare < 0:
        return None
    lacking = [wanted - found for wanted, found in zip(natural, least, strict=True)]
    return [found + spare * lacks // sum(lacking) for found, lacks in zip(least, lacking, strict=True)]


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
