"""Debian packages that only benchmarks need: peers and a compiler. Installed if missing.

The services of the packages are not started: a benchmark runs the programs with its own settings.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from bench.harness.process import BenchError

RV32 = ("gcc-riscv64-unknown-elf", "picolibc-riscv64-unknown-elf")
_PATH = os.environ.get("PATH", "") + ":/usr/sbin"


def program(name: str, *packages: str) -> str:
    """Return the path of a program on PATH or in /usr/sbin; install the packages if it is missing.

    Raises BenchError if they cannot be installed.
    """
    return installed(lambda: shutil.which(name, path=_PATH), *packages)


def postgresql(name: str) -> str:
    """Return the path of a PostgreSQL program, which Debian installs outside PATH."""
    found = Path("/usr/lib/postgresql")
    return installed(lambda: max(map(str, found.glob(f"*/bin/{name}")), default=None), "postgresql")


def installed(find: Callable[[], str | None], *packages: str) -> str:
    """Return the result of `find`, after installing the packages if it returns None."""
    if found := find():
        return found
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    if os.geteuid() != 0:
        raise BenchError(f"{' and '.join(packages)} missing. Run as root: {' '.join(command)}")
    print(f"  installing {' '.join(packages)} (only this benchmark needs them)", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for attempt in (["apt-get", "update", "-q"], command):
        done = subprocess.run(attempt, capture_output=True, text=True, env=quiet, check=False)
        if done.returncode != 0:
            raise BenchError(
                f"{' '.join(attempt)} failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
            )
    if found := find():
        return found
    raise BenchError(f"{' and '.join(packages)} installed, but the program is missing; see bench/README.md")
