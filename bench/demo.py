"""`make bench-demo`: run the demo several times as a user would, and collect its own measurements.

build/demo.json is written by the demo; a run that fails its checks ends the benchmark.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.harness import command, machine
from bench.harness.compare import alone
from bench.harness.process import BenchError
from bench.harness.results import Metric

_RUN_S = 180.0
_UNITS = {"mesh_ready_s": "s"}


def _run(figures: Path) -> dict[str, tuple[float, float]]:
    """Return the measured value and the target of each key."""
    argv = [sys.executable, "-m", "ygg", "demo", "--figures", str(figures)]
    environment = {**os.environ, "PYTHONPATH": f"{machine.ROOT}:{machine.ROOT / 'gen'}"}
    done = subprocess.run(argv, cwd=machine.ROOT, env=environment, timeout=_RUN_S, check=False)
    if done.returncode != 0:
        raise BenchError(f"the demo exited with status {done.returncode}")
    metrics = json.loads(figures.read_text())["metrics"]
    return {one["key"]: (one["ours"], one["target"]) for one in metrics}


async def measure(_: Sequence[str]) -> list[Metric]:
    """Run five times, three if short."""
    runs = [_run(machine.ROOT / "build" / "demo.json") for _ in range(machine.rounds())]
    return [
        alone(
            key,
            [run[key][0] for run in runs],
            unit=_UNITS.get(key, "ms"),
            better="lower",
            target=target,
            n=len(runs),
        )
        for key, (_, target) in runs[0].items()
    ]


if __name__ == "__main__":
    command.run("demo", ("demo",), measure)
