"""Lock and state of a running embedded mesh: run/mesh.lock and run/mesh.json.

The supervisor holds the lock while it lives; the kernel releases it when the supervisor exits for any reason, so a
stale file never looks like a running mesh. mesh.json is informational, for `ygg status`.
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
    """Content of mesh.json. `ready_s` is the time from start to ready, in seconds."""

    phase: str
    pid: int
    start_unix_s: float
    ready_s: float = 0.0
    error: str = ""
    hint: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)


class RunDir:
    """The directory run/ of one mesh."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = path / "mesh.lock"
        self._state = path / "mesh.json"

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock of the running mesh. Raises CliError if another mesh holds it."""
        private_dir(self.path)
        with self._lock.open("a") as stream:
            self._lock.chmod(SECRET)
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CliError(
                    f"the mesh is already running (pid {self.pid() or '?'})",
                    hint="Check it:  ygg status      Stop it:  ygg down",
                ) from None
            yield

    def running(self) -> bool:
        """Return whether a supervisor holds the lock."""
        try:
            with self._lock.open("r") as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def write(self, state: MeshState) -> None:
        """Write mesh.json."""
        write_atomic(self._state, (json.dumps(asdict(state), indent=2) + "\n").encode(), SECRET)

    def read(self) -> MeshState | None:
        """Return the state of the current or last mesh; None if missing or unreadable."""
        try:
            data: dict[str, Any] = json.loads(self._state.read_text(encoding="utf-8"))
            return MeshState(**data)
        except (OSError, ValueError, TypeError):
            return None

    def pid(self) -> int:
        """Return the supervisor's process id, 0 if unknown. Valid only while `running`."""
        found = self.read()
        return found.pid if found else 0

    def stop(self, within_s: float, sleep: Callable[[float], None] = time.sleep) -> bool:
        """Stop the mesh; return False if none runs. Raises CliError if it does not stop within `within_s` seconds."""
        if not self.running():
            return False
        pid = self.pid()
        if pid <= 0:
            raise CliError(f"no process id in {self._state}", hint=f"Find the process:  fuser -v {self._lock}")
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if not self.running() and not _alive(pid):  # the supervisor cleans up after it releases the lock
                return True
            sleep(0.05)
        os.kill(pid, signal.SIGKILL)  # its children die with it
        raise CliError(f"the mesh did not stop within {within_s:g} s and was killed (process {pid})")


def _alive(pid: int) -> bool:
    """Return whether the process exists and is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in ("Z", "X")
