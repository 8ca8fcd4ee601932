"""Installs the command of a peer that is missing: Debian's lua5.4, if run as root with apt-get."""

from __future__ import annotations

import os
import shutil
import subprocess

from bench.harness.process import BenchError

_LUA = "lua5.4"


def ensure() -> None:
    """Install the command if it is missing; raise BenchError with the command to run if that fails."""
    if shutil.which(_LUA):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"  installing {_LUA} (apt-get), a peer of this benchmark", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", _LUA]
        subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not shutil.which(_LUA):
        raise BenchError(f"{_LUA} is not installed. Debian: apt-get install {_LUA}")
