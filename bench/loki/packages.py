"""What a peer needs that is not here: Debian's lua5.4, installed where that may be done."""

from __future__ import annotations

import os
import shutil
import subprocess

from bench.harness.process import BenchError

_LUA = "lua5.4"


def ensure() -> None:
    """Raises BenchError that says what to install."""
    if shutil.which(_LUA):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"  installing {_LUA} (apt-get), a peer of this benchmark", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", _LUA]
        subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not shutil.which(_LUA):
        raise BenchError(f"{_LUA} is not installed. Debian: apt-get install {_LUA}")
