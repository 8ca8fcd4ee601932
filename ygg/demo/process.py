"""Start, await and stop the demo's second process, the runner."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ygg.demo.paths import DemoPaths
from ygg.exits import CliError
from ygg.files import private_dir
from ygg.mesh import up
from ygg.mesh.child import die_with_parent
from ygg.mesh.ports import Ports
from ygg.mesh.runstate import FAILED, READY, RunDir

_START_S = 90.0
_STOP_S = 60.0


@contextlib.contextmanager
def running(paths: DemoPaths, agent: Path, *, keep: bool) -> Iterator[subprocess.Popen[bytes]]:
    """Run the runner; stop it at the end and on any error. With `keep` it stays on success."""
    private_dir(paths.layout.logs)
    command = [sys.executable, "-m", "ygg.demo.runner", str(paths.root), str(agent.resolve())]
    environment = {**os.environ, "PYTHONPATH": ":".join(up.code_folders())}
    with (paths.layout.logs / "runner.log").open("ab") as log:
        runner = subprocess.Popen(
            [*command, *(["--keep"] if keep else [])],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment,
            preexec_fn=None if keep else die_with_parent(os.getpid(), signal.SIGTERM),  # noqa: PLW1509 - one thread
        )
    good = False
    try:
        yield runner
        good = True
    finally:
        if not (keep and good):
            _end(runner)


def _end(runner: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        runner.terminate()
    try:
        runner.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        runner.kill()  # its children die with it
        runner.wait()


def await_ready(paths: DemoPaths, runner: subprocess.Popen[bytes]) -> tuple[float, Ports]:
    """Wait for the mesh; return its start time in seconds and its ports. Raises CliError if it cannot start."""
    run_dir = RunDir(paths.layout.run)
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        found = run_dir.read()
        if found and found.phase == READY:
            return found.ready_s, Ports(**found.ports)
        if runner.poll() is not None:
            if found and found.phase == FAILED:
                raise CliError(found.error, hint=found.hint)
            raise CliError("the mesh exited while starting")
        time.sleep(0.02)
    raise CliError(f"the mesh was not ready within {_START_S:g} s")
