"""The environment of a benchmark: folders, short or full run, machine and commit."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "bench"
RESULTS = ROOT / "bench" / "results"
_GIT_S = 5.0


def quick() -> bool:
    """Return whether BENCH_QUICK selects smaller counts and three rounds."""
    return os.environ.get("BENCH_QUICK", "") not in ("", "0")


def pick(short: int, full: int) -> int:
    """Return `short` if BENCH_QUICK is set, else `full`."""
    return short if quick() else full


def rounds() -> int:
    """Return how often each side of a comparison is measured."""
    return pick(3, 5)


def describe() -> dict[str, Any]:
    """Return the machine description for the results."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """Return the commit of the checkout, with `+` if files differ from it; empty outside a checkout."""
    head = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "services", "firmware", "protos", "ygg")
    return head + ("+" if head and changed else "")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=_GIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
