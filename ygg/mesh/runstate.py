"""Whether an embedded mesh runs, and what it says of itself: run/mesh.lock and run/mesh.json.

The lock is held by the supervisor as long as it lives, and the kernel drops it however the supervisor ends: so a
stale file is never taken for a running mesh. mesh.json is for people and for `ygg status`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ygg.exits import CliError
from ygg.files import SECRET, private_dir, write_atomic

STARTING, READY, STOPPING, FAILED = "starting", "ready", "stopping", "failed"


@dataclass(slots=True)
class MeshState:
    """What mesh.json says. `ready_s` is how long it took to become ready, in seconds."""

    phase: str
    pid: int
    start_unix_s: float
    ready_s: float = 0.0
    error: str = ""
    hint: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)


class RunDir:
    """The folder run/ of one mesh."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = path / "mesh.lock"
        self._state = path / "mesh.json"

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Be the running mesh. Raises CliError where there is one already."""
        private_dir(self.path)
        with self._lock.open("a") as stream:
            self._lock.chmod(SECRET)
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CliError(
                    f"a mesh runs here already (process {self.pid() or '?'})",
                    hint="See it:  ygg status      Stop it:  ygg down",
                ) from None
            yield

    def running(self) -> bool:
        """Whether a supervisor holds the lock."""
        try:
            with self._lock.open("r") as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def write(self, state: MeshState) -> None:
        """Say how the mesh is."""
        write_atomic(self._state, (json.dumps(asdict(state), indent=2) + "\n").encode(), SECRET)

    def read(self) -> MeshState | None:
        """What the mesh that runs, or ran last, said; None where there is nothing readable."""
        try:
            data: dict[str, Any] = json.loads(self._state.read_text(encoding="utf-8"))
            return MeshState(**data)
        except (OSError, ValueError, TypeError):
            return None

    def pid(self) -> int:
        """The supervisor's process id as it wrote it, 0 where unknown. Only to be used while `running`."""
        found = self.read()
        return found.pid if found else 0

    def stop(self, within_s: float, sleep: Callable[[float], None] = time.sleep) -> bool:
        """Stop the mesh that runs here; False where none does. Raises CliError where it does not stop in time."""
        if not self.running():
            return False
        pid = self.pid()
        if pid <= 0:
            raise CliError(f"{self._state} does not name the running mesh", hint=f"Who holds {self._lock}?  fuser -v")
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if not self.running() and not _alive(pid):  # it tidies up after it has let go of the lock
                return True
            sleep(0.05)
        os.kill(pid, signal.SIGKILL)  # its children die with it
        raise CliError(f"the mesh did not stop within {within_s:g} s and was killed (process {pid})")


def _alive(pid: int) -> bool:
    """Whether the process is there and has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in ("Z", "X")
