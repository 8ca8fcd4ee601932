"""Run nats-server so that a full disk neither stops the mesh for good nor stays unnoticed.

    nats_keeper.py --store DIR --monitor HOST:PORT -- nats-server -c nats.conf

              room on the disk                      less than LOW_BYTES, or a write failed
    accepting ◀─────────────────── refusing ◀─────────────────────────────────── accepting

nats-server never writes again to a stream once a write to it has failed: it must be restarted, and until then
publishers get no answer at all. So it runs in one of two modes, and a change of the mode is a restart:

- accepting: JetStream may use its budget, a share of what is free and of what it has.
- refusing: JetStream may use nothing, so that everything can be read and each write is answered at once with an error.

The size is the variable YGG_NATS_STORE_LIMIT of nats.conf; services read it as the limit of their account and size
their streams after it. YGG_NATS_STORE_BYTES, when set, is the budget instead of a share of the disk.

Only the standard library, because the image of NATS has nothing else. `ygg up` and the container run the same file.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

LIMIT = "YGG_NATS_STORE_LIMIT"
"""Name of the variable that nats.conf reads."""
BUDGET = "YGG_NATS_STORE_BYTES"
ACCOUNT = "YGG"

LOW_BYTES = 32 * 1024**2
"""With less than this free nats-server refuses writes: its indexes and whatever shares the disk still have some."""
ENOUGH_BYTES = 2 * LOW_BYTES
"""It accepts again from here on: more than LOW_BYTES, or it would restart with every file that comes and goes."""
LOW_FILES = 1000
CHECK_S = 1.0
FIRST_WAIT_S = 2.0
MAX_WAIT_S = 60.0
STEADY_S = 120.0
"""A write that fails although there is room (a quota, a bad disk) is tried again after waits that double, and that
start over once it has gone well for STEADY_S."""

_PR_SET_PDEATHSIG = 1
_STOP = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Disk:
    """What is free on a disk for those who are not root. `files` is None where the file system has no such bound."""

    free: int
    files: int | None = None

    @classmethod
    def of(cls, folder: Path) -> Disk:
        """The disk that the folder is on."""
        found = os.statvfs(folder)
        return cls(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)

    def has(self, size: int) -> bool:
        """Whether `size` bytes and some files fit."""
        return self.free >= size and (self.files is None or self.files >= LOW_FILES)


def used_bytes(folder: Path) -> int:
    """Bytes on the disk of all files under `folder`; 0 when it is missing."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # gone meanwhile
                total += (Path(where) / name).lstat().st_blocks * 512
    return total


def budget_bytes(free: int, used: int) -> int:
    """What JetStream may use: three quarters of what it has and what is free, and always some of what is free."""
    return max((free + used) * 3 // 4, used + free // 4)


@dataclass(slots=True)
class Mode:
    """Whether nats-server shall accept writes, decided from the disk and from how its last writes went.

    Times are seconds of any clock that only goes forward.
    """

    accepting: bool = True
    _wait_s: float = FIRST_WAIT_S
    _not_before_s: float = 0.0
    _since_s: float = 0.0

    def start(self, disk: Disk, now_s: float) -> None:
        """At the start."""
        self.accepting, self._since_s = disk.has(LOW_BYTES), now_s

    def changed(self, disk: Disk, write_failed: bool, now_s: float) -> bool:
        """Whether nats-server has to be restarted, in the mode that `accepting` says by then."""
        if not self.accepting:
            self.accepting = disk.has(ENOUGH_BYTES) and now_s >= self._not_before_s
            self._since_s = now_s
            return self.accepting
        if not write_failed and disk.has(LOW_BYTES):
            return False
        if write_failed and disk.has(LOW_BYTES):
            self._wait_s = FIRST_WAIT_S if now_s - self._since_s >= STEADY_S else min(self._wait_s * 2, MAX_WAIT_S)
            self._not_before_s = now_s + self._wait_s
        self.accepting = False
        return True


@dataclass(slots=True)
class Keeper:
    """nats-server as a child. `argv` starts it, `monitor` is HOST:PORT of its monitoring endpoint."""

    argv: Sequence[str]
    store: Path
    monitor: str
    environ: Mapping[str, str]
    say: Callable[[str], None]
    mode: Mode = field(default_factory=Mode)
    clock: Callable[[], float] = time.monotonic

    def run(self) -> int:
        """Keep nats-server running until SIGTERM, SIGINT, or until it ends by itself; returns its exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {*_STOP, signal.SIGCHLD})
        self.store.mkdir(mode=0o700, parents=True, exist_ok=True)
        adopt(self.store / "jetstream")
        self.mode.start(Disk.of(self.store), self.clock())
        child = self._start()
        while True:
            number = signal.sigtimedwait({*_STOP, signal.SIGCHLD}, CHECK_S)
            if number is not None and number.si_signo in _STOP:
                return self._stop(child)
            if (status := child.poll()) is not None:
                return status
            if self.mode.changed(Disk.of(self.store), bool(why := write_error(self.monitor)), self.clock()):
                self._announce(why)
                self._stop(child)
                child = self._start()

    def _announce(self, why: str) -> None:
        disk = Disk.of(self.store)
        if self.mode.accepting:
            self.say(f"the disk has {disk.free} bytes free: writes are accepted again")
        else:
            self.say(f"{why or f'the disk has only {disk.free} bytes free'}: writes are refused until there is room")

    def _start(self) -> subprocess.Popen[bytes]:
        environ = {**self.environ, LIMIT: str(self._limit())}
        return subprocess.Popen(self.argv, env=environ, preexec_fn=_in_child(os.getpid()))  # noqa: PLW1509

    def _limit(self) -> int:
        if not self.mode.accepting:
            return 0
        if fixed := self.environ.get(BUDGET):
            return int(fixed)
        return budget_bytes(Disk.of(self.store).free, used_bytes(self.store))

    @staticmethod
    def _stop(child: subprocess.Popen[bytes]) -> int:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        return child.wait()  # whoever stops this process bounds it


def write_error(monitor: str) -> str:
    """What nats-server says of a stream that it could not write to; empty when it says nothing of the kind."""
    connection = http.client.HTTPConnection(monitor, timeout=2)  # not urllib, which heeds proxies
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        said = str(json.loads(answer.read(10_000)).get("error", "")) if answer.status != HTTPStatus.OK else ""
        return said if "write error" in said else ""
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        return ""  # it is starting
    finally:
        connection.close()


def adopt(jetstream: Path) -> None:
    """Move the streams of the account that meshes had before they had one of their own."""
    before, now = jetstream / "$G", jetstream / ACCOUNT
    if before.is_dir() and not now.exists():
        before.rename(now)


def budget_of(environ: Mapping[str, str]) -> int | None:
    """The budget that is set, in bytes; None when none is. Raises ValueError."""
    text = environ.get(BUDGET, "")
    if not text:
        return None
    if not text.isdecimal() or int(text) < LOW_BYTES:
        raise ValueError(f"{BUDGET} must be a number of bytes, at least {LOW_BYTES}, not {text!r}")
    return int(text)


def _in_child(parent: int) -> Callable[[], None]:
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Run nats-server so that it outlives a full disk.")
    parser.add_argument("--store", type=Path, required=True, metavar="DIR", help="store_dir of its JetStream")
    parser.add_argument("--monitor", required=True, metavar="HOST:PORT", help="its monitoring endpoint")
    parser.add_argument("argv", nargs="+", metavar="COMMAND", help="what starts it")
    found = parser.parse_args(arguments)
    try:
        budget_of(os.environ)
    except ValueError as e:
        sys.stderr.write(f"nats: {e}\n")
        return 2

    def say(text: str) -> None:
        with contextlib.suppress(OSError):  # the log is on the full disk, perhaps
            sys.stderr.write(f"nats: {text}\n")
            sys.stderr.flush()

    status = Keeper(found.argv, found.store, found.monitor, os.environ, say).run()
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
