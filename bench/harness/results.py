"""bench/results/NAME.json: the common format of all benchmarks, and whether a figure meets its target.

A figure with a peer is judged by ours / peer, one without by ours. Owns the format; `report` renders it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bench.harness import machine

Better = Literal["lower", "higher"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure. `spread` is minimum and maximum, of the ratio if there is one, else of ours; `n` the sample count.

    `target` None: recorded, not judged. `note` gives conditions of the measurement.
    """

    key: str
    ours: float | None
    unit: str
    better: Better
    peer: float | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    target: float | None = None
    peer_name: str | None = None
    n: int = 1
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether it meets its target; None without target or measurement."""
        judged = self.ours if self.peer_name is None else self.ratio
        if self.target is None or judged is None:
            return None
        return judged <= self.target if self.better == "lower" else judged >= self.target


def save(name: str, metrics: Sequence[Metric], folder: Path = machine.RESULTS) -> Path:
    """Write the results of one benchmark; return the path."""
    data = {
        "name": name,
        "quick": machine.quick(),
        "commit": machine.commit(),
        "machine": machine.describe(),
        "metrics": [_json(metric) for metric in metrics],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    return path


def load(path: Path) -> tuple[dict[str, Any], list[Metric]]:
    """Return the description and the metrics of a result file."""
    data = json.loads(path.read_text())
    metrics = [
        Metric(**{**one, "spread": tuple(one["spread"]) if one["spread"] else None}) for one in data.pop("metrics")
    ]
    return data, metrics


def _json(metric: Metric) -> dict[str, Any]:
    return {key: _rounded(value) for key, value in asdict(metric).items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return [_rounded(one) for one in value] if isinstance(value, (tuple, list)) else value
