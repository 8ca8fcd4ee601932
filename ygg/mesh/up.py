"""An embedded mesh from nothing to ready and back: `run` is what `ygg up` does.

    lock ─▶ ports ─▶ bootstrap (PKI, identities, nats.conf) ─▶ context ─▶ supervisor ─▶ ready ─▶ … ─▶ stop

Owns that order. Says what happens through `Reporter`; does not print.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import services
from ygg.contexts import Context
from ygg.exits import CliError
from ygg.files import private_dir
from ygg.mesh import bootstrap, plan, ports, ready
from ygg.mesh.bootstrap import Bootstrap
from ygg.mesh.child import Spec, last_words
from ygg.mesh.layout import Layout
from ygg.mesh.plan import Options
from ygg.mesh.runstate import FAILED, READY, STARTING, STOPPING, MeshState, RunDir
from ygg.mesh.servers import find_nats_server
from ygg.mesh.supervisor import Member, Supervisor, gave_up
from ygg.pki.passphrase import CaPassphrase

READY_LIMIT_S = 60.0
_START_TRIES = 4
_log = logging.getLogger(__name__)


class Reporter(Protocol):
    """Is told what happens, in the order in which it happens."""

    def ready(self, seconds: float) -> None:
        """Everything serves; it took that long."""

    def ended(self, name: str, status: int, wait_s: float) -> None:
        """A child ended by itself and is started again after `wait_s` seconds."""

    def back(self, name: str, seconds: float) -> None:
        """That child serves again; it took that long."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """What to run where. `made` are the identities to make beyond those of services, `more` runs beside them.

    `announce` is told how to reach the mesh before anything is started. `passphrase` protects the keys of its CAs.
    """

    layout: Layout
    options: Options
    announce: Callable[[Context], None]
    passphrase: CaPassphrase
    made: Bootstrap = field(default_factory=Bootstrap)
    more: Sequence[Spec] = ()


async def run(mesh: Mesh, report: Reporter, stopping: asyncio.Event) -> None:
    """Run the mesh until `stopping` is set. Raises CliError where it cannot start."""
    layout, options = mesh.layout, mesh.options
    run_dir = RunDir(layout.run)
    with _disk_named(layout.root), run_dir.hold():
        ports.check_free(options.ports, options.link_host)
        state = MeshState(STARTING, os.getpid(), time.time(), ports=asdict(options.ports))
        run_dir.write(state)
        try:
            prepare(mesh)
            context = plan.context(layout, options.ports)
            mesh.announce(context)
            specs = plan.specs(layout, options, find_nats_server(), os.environ, code_folders())
            await _supervise([*specs, *mesh.more], context, _Watch(run_dir, state, report, context), stopping)
        except CliError as e:
            state.phase, state.error, state.hint = FAILED, e.message, e.hint
            run_dir.write(state)
            raise


@contextlib.contextmanager
def _disk_named(root: Path) -> Iterator[None]:
    """Make a full disk under `root` a CliError that says so."""
    try:
        yield
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        hint = "Free some space there; `ygg doctor` shows how much there is."
        raise CliError(f"the disk of {root} is full: {e.filename or root} cannot be written", hint=hint) from e


def prepare(mesh: Mesh) -> None:
    """Make folders, PKI, identities and nats.conf; idempotent."""
    layout = mesh.layout
    for folder in (layout.logs, layout.run, layout.nats, *(layout.data(s) for s in bootstrap.SERVICES)):
        private_dir(folder)
    nats = plan.nats_plan(layout, mesh.options.ports)
    bootstrap.run(layout.root, mesh.made, nats, passphrase=mesh.passphrase)


def on_signals(stopping: asyncio.Event) -> None:
    """Set `stopping` on SIGTERM, SIGINT and SIGHUP; a second one of them stops waiting for nobody."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)


def code_folders() -> list[str]:
    """Where Python finds our packages: a checkout has two such folders, an installed wheel one."""
    import yggdrasil  # generated; not there until `make gen`, and nothing but this needs it

    found = [Path(folder).resolve().parent for package in (services, yggdrasil) for folder in package.__path__]
    return list(dict.fromkeys(str(folder) for folder in found))


class _Watch:
    """Keeps mesh.json and the reporter up to date with what the supervisor sees."""

    def __init__(self, run_dir: RunDir, state: MeshState, report: Reporter, context: Context) -> None:
        self._run_dir = run_dir
        self._state = state
        self._report = report
        self._context = context
        self._recovering: set[asyncio.Task[None]] = set()

    def phase(self, phase: str) -> None:
        self._state.phase = phase
        self._write()

    def _write(self) -> None:
        try:
            self._run_dir.write(self._state)
        except OSError as e:  # the disk is full, and what it would have said is for people only
            _log.warning("%s was not written: %s", self._run_dir.path, e.strerror)

    def ready(self, seconds: float) -> None:
        self._state.ready_s = seconds
        self.phase(READY)
        self._report.ready(seconds)

    def ended(self, member: Member, wait_s: float) -> None:
        name = member.spec.name
        self._state.restarts[name] = member.backoff.restarts
        self._write()
        if self._state.phase == STARTING and member.backoff.restarts >= _START_TRIES:
            raise gave_up(member.spec, f"ended {_START_TRIES} times while starting")
        self._report.ended(name, member.last_status or 0, wait_s)
        if self._state.phase == READY:
            task = asyncio.create_task(self._back(name), name=f"wait for {name}")
            self._recovering.add(task)
            task.add_done_callback(self._recovering.discard)

    async def close(self) -> None:
        for task in self._recovering:
            task.cancel()
        await asyncio.gather(*self._recovering, return_exceptions=True)

    async def _back(self, name: str) -> None:
        since = time.monotonic()
        await ready.wait(self._context, name)
        self._report.back(name, time.monotonic() - since)


async def _supervise(specs: Sequence[Spec], context: Context, watch: _Watch, stopping: asyncio.Event) -> None:
    started = time.monotonic()
    supervisor = Supervisor(specs, watch.ended)
    keeping = asyncio.create_task(supervisor.run(), name="supervisor")
    stop = asyncio.create_task(stopping.wait(), name="stop")
    serving = asyncio.create_task(ready.wait_all(context), name="ready")
    try:
        if not await _first(keeping, stop, serving, within_s=READY_LIMIT_S):
            raise CliError(f"the mesh was not ready within {READY_LIMIT_S:g} s", hint=_why(supervisor))
        if not stop.done():
            serving.result()
            watch.ready(time.monotonic() - started)
            await _first(keeping, stop)
        watch.phase(STOPPING)
    finally:
        for task in (serving, stop, keeping):
            task.cancel()
        await watch.close()
        await asyncio.gather(serving, stop, keeping, return_exceptions=True)


async def _first(keeping: asyncio.Task[None], *others: asyncio.Task[Any], within_s: float | None = None) -> bool:
    """Wait until one of `others` is done; False when time is up first. Raises what ended `keeping`."""
    done, _ = await asyncio.wait({keeping, *others}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    if keeping in done:
        keeping.result()
    return bool(done)


def _why(supervisor: Supervisor) -> str:
    """The last words of the children that keep ending."""
    failing = [m for m in supervisor.members.values() if m.backoff.restarts]
    return "\n".join(f"{m.spec.name}: {last_words(m.spec)}" for m in failing) or "No process ended; see its logs."
