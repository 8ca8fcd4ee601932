"""`make bench-startup`: processor time of the command `ygg` before it does any work, on a real mesh.

User and system time of a whole process as counted by the kernel, so that other load on the machine has little effect.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.harness import command, machine
from bench.harness.compare import alone
from bench.harness.process import BenchError
from bench.harness.results import Metric

_COMMANDS = {
    "cli_version_cpu_ms": (("--version",), 150.0),
    "cli_device_ls_cpu_ms": (("device", "ls"), 400.0),
    "cli_help_cpu_ms": (("--help",), None),
    "cli_status_cpu_ms": (("status",), None),
}


def _ygg(arguments: Sequence[str], home: str) -> float:
    """Run the command; return its processor time in milliseconds, reaped children included."""
    environment = {**os.environ, "YGG_HOME": home, "PYTHONPATH": f"{machine.ROOT}:{machine.ROOT / 'gen'}"}
    process = subprocess.Popen([sys.executable, "-m", "ygg", *arguments], env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise BenchError(f"ygg {' '.join(arguments)} exited with status {process.returncode}")
    return (used.ru_utime + used.ru_stime) * 1000


@contextmanager
def _mesh() -> Iterator[str]:
    """Yield the home directory of a running mesh."""
    with tempfile.TemporaryDirectory(prefix="ygg-startup-") as home:
        _ygg(("up", "-d", "--free-ports"), home)
        try:
            yield home
        finally:
            _ygg(("down",), home)


async def measure(_: Sequence[str]) -> list[Metric]:
    """Measure several runs of each command, after one that fills the caches."""
    found = []
    with _mesh() as home:
        for key, (arguments, target) in _COMMANDS.items():
            runs = [_ygg(arguments, home) for _ in range(2 * machine.rounds() + 1)][1:]
            found.append(alone(key, runs, unit="ms", better="lower", target=target, n=len(runs)))
    return command.show("startup", found)


if __name__ == "__main__":
    command.run("startup", ("startup",), measure)
