"""bench/RESULTS.md: all results as tables, each target met or missed. Written from the files, never by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.harness import machine
from bench.harness.results import Metric, load

_HEADER = """# Results

Written by `make bench` from `bench/results/*.json`; do not edit. `ratio` is ours / peer, measured in turns in the same
run; a figure with a peer is judged by its ratio, one without by itself. How to run them, what each peer is and what was
saturated: [README.md](README.md).
"""


def write(folder: Path = machine.RESULTS, to: Path = machine.ROOT / "bench" / "RESULTS.md") -> Path:
    """Writes the tables of every result in `folder`; returns where."""
    parts = [_HEADER]
    for path in sorted(folder.glob("*.json")):
        about, metrics = load(path)
        parts.append(_section(about, metrics))
    to.write_text("\n".join(parts))
    return to


def _section(about: dict[str, Any], metrics: list[Metric]) -> str:
    facts = about["machine"]
    length = "short run (BENCH_QUICK=1)" if about["quick"] else "full run"
    where = f"{facts['cores']} cores, Python {facts['python']}, Linux {facts['kernel']}"
    judged = [metric.met for metric in metrics if metric.met is not None]
    lines = [
        f"## {about['name']}",
        "",
        f"{length} · commit {about['commit'] or '?'} · {where} · {sum(judged)} of {len(judged)} targets met",
        "",
        "| key | ours | peer | ratio | spread | target | | n |",
        "|---|--:|--:|--:|---|--:|---|--:|",
        *(_row(metric) for metric in metrics),
        "",
    ]
    notes = [f"- `{metric.key}`: {metric.note}" for metric in metrics if metric.note]
    return "\n".join([*lines, *notes, ""] if notes else lines)


def _row(metric: Metric) -> str:
    peer = "" if metric.peer is None else f"{_figure(metric.peer)} ({metric.peer_name})"
    spread = "" if metric.spread is None else f"{_figure(metric.spread[0])} … {_figure(metric.spread[1])}"
    sign = "≤" if metric.better == "lower" else "≥"
    target = "" if metric.target is None else f"{sign} {metric.target:g}"
    verdict = {True: "met", False: "**missed**", None: "recorded" if metric.ours is not None else "not measured"}
    ours = "" if metric.ours is None else f"{_figure(metric.ours)} {metric.unit}"
    cells = [f"`{metric.key}`", ours, peer, _figure(metric.ratio), spread, target, verdict[metric.met], str(metric.n)]
    return f"| {' | '.join(cells)} |"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
