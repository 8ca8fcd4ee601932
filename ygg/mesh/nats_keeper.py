"""Run nats-server and restart it in a read-only mode while the disk is full.

    nats_keeper.py --store DIR --monitor HOST:PORT -- nats-server -c nats.conf

              space on the disk                     less than LOW_BYTES, or a write failed
    accepting ◀─────────────────── refusing ◀─────────────────────────────────── accepting

After a failed write nats-server never writes to that stream again until it is restarted, and publishers get no
response. So it runs in one of two modes; changing the mode restarts it:

- accepting: JetStream may use its budget, a fraction of the free space and of the space it uses.
- refusing: JetStream may store nothing; reads succeed, and every write fails immediately with an error.

nats.conf reads the limit from the variable YGG_NATS_STORE_LIMIT; services see it as the limit of their account and size
their streams by it. YGG_NATS_STORE_BYTES, if set, overrides the computed budget.

Standard library only: the NATS container image has nothing else. `ygg up` and the container run the same file.
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
"""Variable that nats.conf reads the limit from."""
BUDGET = "YGG_NATS_STORE_BYTES"
ACCOUNT = "YGG"

LOW_BYTES = 32 * 1024**2
"""Below this much free space nats-server refuses writes, which leaves a reserve for its indexes and other programs."""
ENOUGH_BYTES = 2 * LOW_BYTES
"""From this much free space on it accepts writes again. Twice LOW_BYTES, so that small changes cause no restart."""
LOW_FILES = 1000
"""Below this many free inodes a disk counts as full."""
CHECK_S = 1.0
FIRST_WAIT_S = 2.0
MAX_WAIT_S = 60.0
STEADY_S = 120.0
"""A write error with space left (a quota, a bad disk) is retried with a doubling backoff of FIRST_WAIT_S to MAX_WAIT_S,
which resets after STEADY_S without an error."""

_PR_SET_PDEATHSIG = 1
_STOP = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Disk:
    """Free bytes and inodes for unprivileged users. `files` is None if the file system has no inode limit."""

    free: int
    files: int | None = None

    @classmethod
    def of(cls, folder: Path) -> Disk:
        """Return the state of the disk that holds `folder`."""
        found = os.statvfs(folder)
        return cls(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)

    def has(self, size: int) -> bool:
        """Return whether at least `size` bytes and LOW_FILES inodes are free."""
        return self.free >= size and (self.files is None or self.files >= LOW_FILES)


def used_bytes(folder: Path) -> int:
    """Return the disk usage of all files under `folder` in bytes; 0 if it is missing."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # deleted concurrently
                total += (Path(where) / name).lstat().st_blocks * 512
    return total


def budget_bytes(free: int, used: int) -> int:
    """Return the storage budget of JetStream: 3/4 of used and free space, at least the used plus 1/4 of the free."""
    return max((free + used) * 3 // 4, used + free // 4)


@dataclass(slots=True)
class Mode:
    """The mode of nats-server, derived from free disk space and write errors. Times are monotonic seconds."""

    accepting: bool = True
    _wait_s: float = FIRST_WAIT_S
    _not_before_s: float = 0.0
    _since_s: float = 0.0

    def start(self, disk: Disk, now_s: float) -> None:
        """Choose the initial mode."""
        self.accepting, self._since_s = disk.has(LOW_BYTES), now_s

    def changed(self, disk: Disk, write_failed: bool, now_s: float) -> bool:
        """Update `accepting`; return whether nats-server must be restarted in the new mode."""
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
    """nats-server as a child process. `argv` is its command, `monitor` HOST:PORT of its monitoring endpoint."""

    argv: Sequence[str]
    store: Path
    monitor: str
    environ: Mapping[str, str]
    log: Callable[[str], None]
    mode: Mode = field(default_factory=Mode)
    clock: Callable[[], float] = time.monotonic

    def run(self) -> int:
        """Run nats-server until SIGTERM, SIGINT or its own exit; return its exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {*_STOP, signal.SIGCHLD})
        self.store.mkdir(mode=0o700, parents=True, exist_ok=True)
        rename_default_account(self.store / "jetstream")
        self.mode.start(Disk.of(self.store), self.clock())
        child = self._start()
        while True:
            number = signal.sigtimedwait({*_STOP, signal.SIGCHLD}, CHECK_S)
            if number is not None and number.si_signo in _STOP:
                return self._stop(child)
            if (status := child.poll()) is not None:
                return status
            if self.mode.changed(Disk.of(self.store), bool(why := write_error(self.monitor)), self.clock()):
                self._log_mode(why)
                self._stop(child)
                child = self._start()

    def _log_mode(self, why: str) -> None:
        disk = Disk.of(self.store)
        if self.mode.accepting:
            self.log(f"disk has {disk.free} bytes free: accepting writes again")
        else:
            self.log(f"{why or f'disk has only {disk.free} bytes free'}: refusing writes until space is freed")

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
        return child.wait()  # no timeout: the supervisor of this process enforces one


def write_error(monitor: str) -> str:
    """Return the write error that nats-server reports in its health check; empty if none."""
    connection = http.client.HTTPConnection(monitor, timeout=2)  # not urllib, which heeds proxies
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        error = str(json.loads(answer.read(10_000)).get("error", "")) if answer.status != HTTPStatus.OK else ""
        return error if "write error" in error else ""
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        return ""  # nats-server is starting
    finally:
        connection.close()


def rename_default_account(jetstream: Path) -> None:
    """Move the streams of older meshes, which used the default account, to ACCOUNT."""
    old, new = jetstream / "$G", jetstream / ACCOUNT
    if old.is_dir() and not new.exists():
        old.rename(new)


def budget_of(environ: Mapping[str, str]) -> int | None:
    """Return the configured budget in bytes; None if unset. Raises ValueError if invalid."""
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
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Run nats-server and survive a full disk.")
    parser.add_argument("--store", type=Path, required=True, metavar="DIR", help="store_dir of JetStream")
    parser.add_argument("--monitor", required=True, metavar="HOST:PORT", help="monitoring endpoint of nats-server")
    parser.add_argument("argv", nargs="+", metavar="COMMAND", help="command that starts nats-server")
    found = parser.parse_args(arguments)
    try:
        budget_of(os.environ)
    except ValueError as e:
        sys.stderr.write(f"nats: {e}\n")
        return 2

    def log(text: str) -> None:
        with contextlib.suppress(OSError):  # the log may be on the full disk
            sys.stderr.write(f"nats: {text}\n")
            sys.stderr.flush()

    status = Keeper(found.argv, found.store, found.monitor, os.environ, log).run()
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
