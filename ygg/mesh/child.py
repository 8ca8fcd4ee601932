"""One child process: how it is started so that it cannot outlive us, and how it is ended.

    supervisor ── child (own process group, dies with the supervisor) ── whatever it starts

PR_SET_PDEATHSIG (prctl(2)) makes the kernel kill the child when the supervisor ends, however it ends. A group of
its own keeps a Ctrl-C in the terminal from reaching the child before the supervisor has said in which order to stop.
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
    """What to run. Its output goes to the file `log`; `env` is all of its environment."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    cwd: Path
    stop_s: float = 8.0
    """How long it may take to end after SIGTERM before it is killed, in seconds."""
    fatal_status: frozenset[int] = field(default_factory=lambda: frozenset({2}))
    """Exit statuses that another start cannot mend: faults of the settings."""


async def spawn(spec: Spec) -> asyncio.subprocess.Process:
    """Start the child. Raises CliError where the program cannot be run."""
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
            preexec_fn=dies_with(os.getpid(), signal.SIGKILL),
        )
    except OSError as e:
        raise CliError(f"{spec.name} cannot be started: {spec.argv[0]}: {e.strerror}") from e
    finally:
        os.close(descriptor)


async def stop(process: asyncio.subprocess.Process, stop_s: float) -> None:
    """End the child and all of its group: SIGTERM, then SIGKILL after `stop_s` seconds. Idempotent."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(stop_s):
                await process.wait()
    kill_group(process)
    await process.wait()


def kill_group(process: asyncio.subprocess.Process) -> None:
    """Kill the child, where it still runs, and whatever it left in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def last_words(spec: Spec) -> str:
    """The last line of the child's log in words, for messages; empty where there is none."""
    try:
        with spec.log.open("rb") as stream:
            stream.seek(max(0, spec.log.stat().st_size - _TAIL_BYTES))
            lines = stream.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return _in_words(next((line for line in reversed(lines) if line.strip()), ""))


def _in_words(line: str) -> str:
    """A line of our services' JSON logs as message, hint and cause; any other line as it is."""
    try:
        entry = json.loads(line)
        message = str(entry["msg"])
    except (ValueError, KeyError, TypeError):
        return line.strip()
    causes = _CAUSE.findall(str(entry.get("exception", "")))
    return ". ".join(part for part in (message, str(entry.get("hint", "")), causes[-1] if causes else "") if part)


def dies_with(parent: int, number: signal.Signals) -> Callable[[], None]:
    """To be run in a new child: it gets signal `number` when its parent, the process `parent`, ends."""

    def in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # the parent ended before prctl was called
            os._exit(1)

    return in_child


def rotate(log: Path) -> None:
    """Keep one old log of some MAX_LOG_BYTES and empty this one, where it is larger; its child may go on writing.

    The child appends, so what it writes next is at the beginning again. On a full disk the old log is given up.
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
