"""Alternating measurement of ours and a peer, so that other load on the machine affects both."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence

from bench.harness.results import Better, Metric

Measure = Callable[[], Awaitable[float]]


async def alternate(count: int, *sides: Measure) -> list[list[float]]:
    """Run each side once per round, every other round in reverse order; return the figures of each side."""
    figures: list[list[float]] = [[] for _ in sides]
    for turn in range(count):
        order = range(len(sides)) if turn % 2 == 0 else reversed(range(len(sides)))
        for index in order:
            figures[index].append(await sides[index]())
    return figures


def compared(
    key: str,
    ours: Sequence[float],
    peer: Sequence[float],
    *,
    peer_name: str,
    unit: str,
    better: Better,
    target: float | None = None,
    n: int = 1,
    note: str = "",
) -> Metric:
    """Return the medians of both sides and their ratio; the spread is that of the rounds' ratios."""
    ratios = [one / other for one, other in zip(ours, peer, strict=True)]
    mine, other = statistics.median(ours), statistics.median(peer)
    return Metric(
        key,
        mine,
        unit,
        better,
        peer=other,
        ratio=mine / other,
        spread=(min(ratios), max(ratios)),
        target=target,
        peer_name=peer_name,
        n=n,
        note=note,
    )


def alone(
    key: str,
    ours: Sequence[float],
    *,
    unit: str,
    better: Better,
    target: float | None = None,
    n: int = 1,
    note: str = "",
) -> Metric:
    """Return a figure without a peer: median and spread of its rounds."""
    return Metric(
        key, statistics.median(ours), unit, better, spread=(min(ours), max(ours)), target=target, n=n, note=note
    )


def percentile(sorted_figures: Sequence[float], share: float) -> float:
    """Return a percentile, such as 0.99, of ascending figures, by nearest rank."""
    return sorted_figures[min(len(sorted_figures) - 1, int(len(sorted_figures) * share))]
