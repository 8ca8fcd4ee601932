"""Processes of a benchmark: started here, measured through /proc, stopped by their own pid."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bench.harness.machine import ROOT

T = TypeVar("T")
STEP_S = 0.02
_TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """A part did not start, or a result is wrong: the benchmark ends without a report."""


def program(name: str) -> str:
    """Return the path of a server program: beside the interpreter, on PATH, or in /usr/sbin."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
    if not found:
        raise BenchError(f"{name} is not installed; see bench/README.md")
    return found


def until(check: Callable[[], T | None], within_s: float, what: str, step_s: float = STEP_S) -> T:
    """Poll `check` every `step_s` seconds and return its first result that is neither None nor False."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            found = check()
            if found is not None and found is not False:
                return found
        time.sleep(step_s)
    raise BenchError(f"not within {within_s:g} s: {what}")


def free_ports(count: int) -> list[int]:
    """Return distinct TCP ports of 127.0.0.1 that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def accepts(port: int) -> bool:
    """Return whether something listens on that port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Child:
    """One process with its standard error in a file; stopped with the benchmark."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        """`env` is added to PATH, HOME and PYTHONPATH, the only other variables."""
        self.name, self.log = name, log
        kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        log.parent.mkdir(parents=True, exist_ok=True)
        _raise_file_limit()  # inherited
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                argv,
                cwd=ROOT,
                env={**kept, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}", **(env or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Return whether it is running."""
        return self._process.poll() is None

    def ready(self, within_s: float = 30.0) -> dict[str, Any]:
        """Return the log line of a service with the `msg` `ready`."""
        return until(self._ready, within_s, f"{self.name} ready, see {self.log}")

    def _ready(self) -> dict[str, Any] | None:
        if not self.alive():
            raise BenchError(f"{self.name} exited with status {self._process.returncode}, see {self.log}")
        for line in self.log.read_text(errors="replace").splitlines():
            if '"msg": "ready"' in line:
                return dict(json.loads(line))
        return None

    def line(self) -> dict[str, Any]:
        """Return the next line of its standard output, a JSON object. Blocks."""
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        if not text:
            raise BenchError(f"{self.name} exited with status {self._process.wait(10)}, see {self.log}")
        return dict(json.loads(text))

    def end_of_input(self) -> None:
        """Close its standard input, which makes some programs exit."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self, within_s: float = 60.0) -> None:
        """Send SIGTERM, and SIGKILL after the timeout."""
        self._end(signal.SIGTERM, within_s)

    def _end(self, number: int, within_s: float = 60.0) -> None:
        if self.alive():
            self._process.send_signal(number)
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def rss_kb(self) -> int:
        """Return the resident memory in KiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise BenchError(f"{self.name} has exited")

    def cpu_s(self) -> float:
        """Return the processor time used so far, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


def _raise_file_limit() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
