"""Debian's packages that only a benchmark needs: its peers and a compiler. Installed where they are missing.

No service of a package is started: a benchmark runs the programs itself, with its own settings.
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
    """The path of a program, from PATH or /usr/sbin; installs the packages if there is none.

    Raises BenchError if they cannot be installed.
    """
    return installed(lambda: shutil.which(name, path=_PATH), *packages)


def postgresql(name: str) -> str:
    """The path of one of PostgreSQL's programs, which Debian keeps apart from PATH."""
    found = Path("/usr/lib/postgresql")
    return installed(lambda: max(map(str, found.glob(f"*/bin/{name}")), default=None), "postgresql")


def installed(find: Callable[[], str | None], *packages: str) -> str:
    """What `find` returns, after an installation of the packages if it returns None at first."""
    if found := find():
        return found
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    if os.geteuid() != 0:
        raise BenchError(f"{' and '.join(packages)} missing. As root: {' '.join(command)}")
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
    raise BenchError(f"{' and '.join(packages)} came without what is needed; see bench/README.md")
