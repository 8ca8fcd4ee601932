"""Start and stop one child process so that it never outlives the supervisor.

    supervisor ── child (own process group, killed with the supervisor) ── its descendants

PR_SET_PDEATHSIG (prctl(2)) makes the kernel kill the child when the supervisor exits for any reason. The separate
process group keeps a terminal's Ctrl-C from the children, so that the supervisor stops them in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ygg.exits import CliError

_PR_SET_PDEATHSIG = 1
MAX_LOG_BYTES = 8 * 1024 * 1024
_TAIL_BYTES = 65536
_CAUSE = re.compile(r"^[ |]*((?!.*ExceptionGroup)[\w.]*(?:Error|Exception): .+)$", re.MULTILINE)
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Spec:
    """A process to run. Its output goes to the file `log`; `env` is its complete environment."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    cwd: Path
    stop_s: float = 8.0
    """Grace period between SIGTERM and SIGKILL, in seconds."""
    fatal_status: frozenset[int] = field(default_factory=lambda: frozenset({2}))
    """Exit statuses that a restart cannot fix: invalid settings."""


async def spawn(spec: Spec) -> asyncio.subprocess.Process:
    """Start the child. Raises CliError if the program cannot be executed."""
    rotate(spec.log)
    descriptor = os.open(spec.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return await asyncio.create_subprocess_exec(
            *spec.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=dict(spec.env),
            cwd=spec.cwd,
            process_group=0,
            preexec_fn=die_with_parent(os.getpid(), signal.SIGKILL),
        )
    except OSError as e:
        raise CliError(f"cannot start {spec.name}: {spec.argv[0]}: {e.strerror}") from e
    finally:
        os.close(descriptor)


async def stop(process: asyncio.subprocess.Process, stop_s: float) -> None:
    """Stop the child and its process group: SIGTERM, then SIGKILL after `stop_s` seconds. Idempotent."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(stop_s):
                await process.wait()
    kill_group(process)
    await process.wait()


def kill_group(process: asyncio.subprocess.Process) -> None:
    """Kill the child, if it still runs, and all remaining processes of its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def last_log_line(spec: Spec) -> str:
    """Return the last line of the child's log as readable text; empty without a log."""
    try:
        with spec.log.open("rb") as stream:
            stream.seek(max(0, spec.log.stat().st_size - _TAIL_BYTES))
            lines = stream.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return _readable(next((line for line in reversed(lines) if line.strip()), ""))


def _readable(line: str) -> str:
    """Return message, hint and cause of a JSON log line of our services; any other line unchanged."""
    try:
        entry = json.loads(line)
        message = str(entry["msg"])
    except (ValueError, KeyError, TypeError):
        return line.strip()
    causes = _CAUSE.findall(str(entry.get("exception", "")))
    return ". ".join(part for part in (message, str(entry.get("hint", "")), causes[-1] if causes else "") if part)


def die_with_parent(parent: int, number: signal.Signals) -> Callable[[], None]:
    """Return a preexec function: the new child gets signal `number` when its parent, process `parent`, exits."""

    def in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # the parent exited before prctl was called
            os._exit(1)

    return in_child


def rotate(log: Path) -> None:
    """If the log exceeds MAX_LOG_BYTES, copy it to `.log.1` and truncate it; the child may keep writing.

    The child appends, so it continues at the start of the file. On a full disk the copy is skipped.
    """
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > MAX_LOG_BYTES:
            old = log.with_suffix(".log.1")
            old.unlink(missing_ok=True)
            with contextlib.suppress(OSError), log.open("rb") as full:
                old.touch(0o600)
                with old.open("wb") as copy:
                    shutil.copyfileobj(full, copy)
            os.truncate(log, 0)
