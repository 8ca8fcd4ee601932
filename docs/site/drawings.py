"""Draws the SVG files of docs/drawings from the text files beside them: `python -m docs.site.drawings`.

`NAME.sequence`: a title, the participants between bars, then one step a line:
`a -> b: message`, `a --> b: response`, `a: what it does`, `--- a remark`.

`NAME.graph`: a title, rows of a grid between bars (`id = text`, `.` for an empty cell, `/` breaks a line), a blank
line, then one edge a line: `a -> b: label` or, for both directions, `a <-> b: label`.

`NAME.terminal`: the output of a command as a terminal shows it. Pure but for `main`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

from docs.site import ROOT

FOLDER = ROOT / "docs" / "drawings"
_CHAR_PX, _LINE_PX, _PAD_PX = 7.2, 17, 20
_STYLE = """<style>
text { font: 13px ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2430; }
.title { font-weight: 600; font-size: 15px; } .small { font-size: 12px; fill: #4a5266; }
.label { font-size: 12px; } .halo { font-size: 12px; stroke: #fff; stroke-width: 5px; stroke-linejoin: round; }
.box { fill: #eef3fb; stroke: #3b5b92; } .note { fill: #fbf6e6; stroke: #cdb873; }
.line { stroke: #3b5b92; stroke-width: 1.4; fill: none; } .life { stroke: #b9c2d3; stroke-dasharray: 3 4; }
.dash { stroke-dasharray: 6 4; } .screen { fill: #12161f; }
.term { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #d8dee9; white-space: pre; }
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto-start-reverse">
<path d="M0 0 8 4 0 8z" fill="#3b5b92"/></marker></defs>
"""


def sequence(source: str) -> str:
    """Return a sequence diagram."""
    title, heads, *steps = _lines(source)
    names = [name.strip() for name in heads.split("|")]
    columns = _columns(names, steps)
    width, y = columns[-1] + _CHAR_PX * len(names[-1]) / 2 + 3 * _PAD_PX, 108.0
    body: list[str] = []
    for step in steps:
        drawn, height = _step(step, dict(zip(names, columns, strict=True)), y, width)
        body += drawn
        y += height
    lives = [f'<path class="line life" d="M{x:.0f} 76V{y:.0f}"/>' for x in columns]
    boxes = [_box(x, 60, [name]) for name, x in zip(names, columns, strict=True)]
    return _document(title, width, y + _PAD_PX, [*lives, *boxes, *body])


def _columns(names: Sequence[str], steps: Sequence[str]) -> list[float]:
    """Return the middle of each column: far enough apart for the messages between neighbours and their own notes."""
    gaps = [max(130.0, _CHAR_PX * (len(a) + len(b)) / 2 + 50) for a, b in pairwise(names)]
    for step in steps:
        if found := re.match(r"(.+?) -?->? (.+?): (.*)", step):
            a, b = sorted((names.index(found[1]), names.index(found[2])))
            missing = _CHAR_PX * len(found[3]) + 34 - sum(gaps[a:b])
            for i in range(a, b):
                gaps[i] += max(0.0, missing / (b - a))
    first = _CHAR_PX * len(names[0]) / 2 + 3 * _PAD_PX
    for step in steps:
        found = re.match(r"([^:>]+): (.*)", step)
        if found and found[1] in names:
            at, half = names.index(found[1]), _CHAR_PX * len(found[2]) / 2 + 14
            first = max(first, half - sum(gaps[:at]) + 8)
    return [first + sum(gaps[:i]) for i in range(len(names))]


def _step(step: str, at: dict[str, float], y: float, width: float) -> tuple[list[str], float]:
    if step.startswith("---"):
        text = step.removeprefix("---").strip()
        line = f'<path class="line life" d="M8 {y:.0f}H{width - 8:.0f}"/>'
        return [line, _text(width / 2, y + 4, text, "label small")], 36
    if found := re.match(r"(.+?) (-{1,2})> (.+?): (.*)", step):
        a, b, dash = at[found[1]], at[found[3]], " dash" if found[2] == "--" else ""
        end = b - 4 if b > a else b + 4
        line = f'<path class="line{dash}" d="M{a:.0f} {y:.0f}H{end:.0f}" marker-end="url(#tip)"/>'
        return [line, _text((a + b) / 2, y - 6, found[4], "label")], 36
    name, _, text = step.partition(": ")
    half = _CHAR_PX * len(text) / 2 + 10
    middle = min(max(at[name], half + 6), width - half - 6)
    rect = f'<rect class="note" x="{middle - half:.0f}" y="{y - 16:.0f}" width="{2 * half:.0f}" height="24" rx="3"/>'
    return [rect, _text(middle, y, text, "small")], 40


def graph(source: str) -> str:
    """Return boxes on a grid and the edges between them."""
    title, *lines = source.strip().splitlines()
    blank = lines.index("", 1)
    rows = [[cell.strip() for cell in line.split("|")] for line in lines[:blank] if line.strip()]
    edges = [line for line in lines[blank:] if line.strip()]
    cells = [cell.partition(" = ") for row in rows for cell in row if cell != "."]
    texts = {name: (text or name).split("/") for name, _, text in cells}
    sizes = {name: _size(text) for name, text in texts.items()}
    wide = max(width for width, _ in sizes.values()) + _gap(edges)
    high = max(height for _, height in sizes.values()) + 64
    place: dict[str, tuple[float, float]] = {}
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            place[cell.partition(" = ")[0]] = (x * wide + wide / 2, 60 + y * high + high / 2)
    boxes = [_box(*place[name], text) for name, text in texts.items()]
    drawn = [part for edge in edges for part in _edge(edge, place, sizes, edges)]
    columns = max(len(row) for row in rows)
    return _document(title, columns * wide, 60 + len(rows) * high, [*boxes, *drawn])


def _gap(edges: Sequence[str]) -> float:
    longest = max((len(part) for edge in edges for part in edge.partition(": ")[2].split("/")), default=0)
    return max(70.0, _CHAR_PX * longest * 0.95 + 26)


def _edge(
    edge: str, place: dict[str, tuple[float, float]], sizes: dict[str, tuple[float, float]], edges: Sequence[str]
) -> Iterator[str]:
    found = re.match(r"(.+?) (<?->) (.+?)(?:: (.*))?$", edge)
    if found is None:
        raise ValueError(f"not an edge: {edge}")
    a, b, label = found[1], found[3], found[4] or ""
    shift = 13 if any(other.startswith(f"{b} -> {a}") for other in edges) else 0
    (ax, ay), (bx, by) = place[a], place[b]
    length = math.hypot(bx - ax, by - ay)
    dx, dy = (by - ay) / length * -shift, (bx - ax) / length * shift
    x1, y1 = _border((ax + dx, ay + dy), (bx + dx, by + dy), (ax, ay), sizes[a])
    x2, y2 = _border((bx + dx, by + dy), (ax + dx, ay + dy), (bx, by), sizes[b])
    start = ' marker-start="url(#tip)"' if found[2] == "<->" else ""
    yield f'<path class="line" d="M{x1:.0f} {y1:.0f}L{x2:.0f} {y2:.0f}" marker-end="url(#tip)"{start}/>'
    lines = label.split("/") if label else []
    flat, steep = abs(by - ay) < 1, abs(bx - ax) < 1
    along = 0.5 if flat or steep or not shift else 0.36
    x, y = x1 + (x2 - x1) * along, y1 + (y2 - y1) * along + 4
    if flat:
        y += 13 if dy > 0 else -11 - _LINE_PX * (len(lines) - 1)
    anchor = ("end" if dx < 0 else "start") if steep and shift else "middle"
    for i, line in enumerate(lines):
        yield _text(x + math.copysign(6, dx) * (anchor != "middle"), y + i * _LINE_PX, line.strip(), "label", anchor)


def _border(
    start: tuple[float, float], end: tuple[float, float], middle: tuple[float, float], size: tuple[float, float]
) -> tuple[float, float]:
    """Return the point of the line from `start` to `end` at the border of the box around `middle`, and 3 px on."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    reach = []
    for delta, offset, half in (
        (dx, start[0] - middle[0], size[0] / 2 + 3),
        (dy, start[1] - middle[1], size[1] / 2 + 3),
    ):
        if abs(delta) > 0.01:
            reach.append((math.copysign(half, delta) - offset) / delta)
    t = min(reach)
    return start[0] + dx * t, start[1] + dy * t


def terminal(source: str) -> str:
    """Return the text as a terminal shows it."""
    lines = source.rstrip().splitlines()
    width = max(map(len, lines)) * 7.9 + 2 * _PAD_PX
    height = len(lines) * 19 + 2 * _PAD_PX
    body = [f'<rect class="screen" x="0" y="0" width="{width:.0f}" height="{height}" rx="8"/>']
    for i, line in enumerate(lines):
        if line.strip():
            at = f'x="{_PAD_PX}" y="{_PAD_PX + 14 + i * 19}"'
            body.append(f'<text class="term" xml:space="preserve" {at}>{escape(line)}</text>')
    return _document("", width, height, body)


def _size(lines: Sequence[str]) -> tuple[float, float]:
    return max(_CHAR_PX * max(map(len, lines)) + 24, 84.0), 18 + _LINE_PX * len(lines)


def _box(x: float, y: float, lines: Sequence[str]) -> str:
    width, height = _size(lines)
    rect = (
        f'<rect class="box" x="{x - width / 2:.0f}" y="{y - height / 2:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" rx="6"/>'
    )
    first = y + 4.5 - _LINE_PX * (len(lines) - 1) / 2
    return rect + "".join(
        _text(x, first + i * _LINE_PX, line.strip(), "small" if i else "") for i, line in enumerate(lines)
    )


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "middle") -> str:
    halo = _text(x, y, text, "halo", anchor) if kind.startswith("label") else ""  # keeps a label legible across a line
    return f'{halo}<text class="{kind}" x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'


def _document(title: str, width: float, height: float, body: Sequence[str]) -> str:
    head = f'<text class="title" x="{_PAD_PX}" y="28">{escape(title)}</text>\n' if title else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(title)}">\n{_STYLE}'
        f'<rect width="100%" height="100%" rx="8" fill="#fff"/>\n{head}' + "\n".join(body) + "\n</svg>\n"
    )


def _lines(source: str) -> list[str]:
    return [line.strip() for line in source.splitlines() if line.strip()]


KINDS: dict[str, Callable[[str], str]] = {".sequence": sequence, ".graph": graph, ".terminal": terminal}


def drawings() -> dict[Path, str]:
    """Return every SVG file that there should be, with its content."""
    sources = sorted(path for path in FOLDER.iterdir() if path.suffix in KINDS)
    return {path.with_suffix(".svg"): KINDS[path.suffix](path.read_text()) for path in sources}


def main() -> None:
    """Write the SVG files."""
    for path, text in drawings().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
