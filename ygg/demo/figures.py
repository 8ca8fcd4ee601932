"""Write build/demo.json: the measurements of the demo, in the format of the benchmarks."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ygg.files import write_atomic

_GIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement without a peer; lower is better. `spread` is minimum and maximum of `n` samples."""

    key: str
    ours: float
    unit: str
    target: float
    n: int = 1
    spread: tuple[float, float] | None = None


def write(path: Path, figures: list[Figure]) -> None:
    """Write the figures to `path`, creating its directory."""
    data = {
        "name": "demo",
        "quick": bool(os.environ.get("BENCH_QUICK")),
        "commit": _commit(),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "kernel": platform.release(),
        },
        "metrics": [_metric(figure) for figure in figures],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, (json.dumps(data, indent=2) + "\n").encode())


def _metric(figure: Figure) -> dict[str, Any]:
    return {
        "key": figure.key,
        "ours": round(figure.ours, 3),
        "peer": None,
        "unit": figure.unit,
        "ratio": None,
        "spread": [round(bound, 3) for bound in figure.spread] if figure.spread else None,
        "better": "lower",
        "target": figure.target,
        "peer_name": None,
        "n": figure.n,
    }


def _commit() -> str:
    """Return the commit of the current checkout; empty outside of one."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, timeout=_GIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
