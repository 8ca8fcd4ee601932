"""`ygg up` and `ygg down`: start and stop the mesh of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ygg.cli.ca import PassphraseFile, passphrase
from ygg.cli.state import State, state
from ygg.contexts import LOCAL, VARIABLE, Context, Contexts
from ygg.exits import CliError
from ygg.files import private_dir
from ygg.mesh.layout import Layout
from ygg.mesh.ports import Ports, check_free, free_ports
from ygg.mesh.runstate import FAILED, READY, RunDir
from ygg.output import Output
from ygg.pki import passphrase as ca_passphrase
from ygg.pki.passphrase import CaPassphrase

if TYPE_CHECKING:
    from ygg.mesh.bootstrap import Bootstrap
    from ygg.mesh.plan import Options

NAMES = "registry · bridge · loki · ota · nats"
STOP_S = 60.0


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.command("up")(up_command)
    app.command("down")(down_command)


class Printer:
    """Prints the events of a mesh."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def ready(self, seconds: float) -> None:
        """The whole mesh is ready."""
        if self._out.as_json:
            self._out.record({"event": "ready", "seconds": round(seconds, 3)})
            return
        self._out.line(f"mesh ready in {seconds:.1f} s   {NAMES}")

    def ended(self, name: str, status: int, wait_s: float) -> None:
        """A child exited unexpectedly."""
        how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
        if self._out.as_json:
            self._out.record({"event": "ended", "name": name, "status": status, "restart_in_s": wait_s})
            return
        self._out.remark(f"{name} {how}; restarting in {wait_s:.1f} s")

    def back(self, name: str, seconds: float) -> None:
        """A child is ready again."""
        if self._out.as_json:
            self._out.record({"event": "back", "name": name, "seconds": round(seconds, 3)})
            return
        self._out.remark(f"{name} is ready again after {seconds:.1f} s")


def up_command(
    ctx: typer.Context,
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    free: Annotated[bool, typer.Option("--free-ports", help="Use random free ports, on loopback only.")] = False,
    host: Annotated[
        list[str] | None,
        typer.Option("--host", metavar="HOST", help="Host name or IP of this machine for devices; repeatable."),
    ] = None,
    policy: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON policy of refused capabilities.")] = None,
    log_level: Annotated[str, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")] = "info",
    ca_passphrase_file: PassphraseFile = None,
) -> None:
    """Start a mesh on this machine, without containers: NATS, registry, bridge, loki, ota.

    Data is stored in $YGG_HOME/mesh, and `local` becomes the current context. The first start creates keys and
    certificates. CA keys are encrypted; unless you pass a passphrase, one is generated and shown once. It is required
    to issue and renew certificates of users and services.

    Devices on other machines enrol at port 7445 and connect to port 7443. Pass --host to add this machine's name to
    the bridge's certificate and to enrolment tokens.

    Examples:
    - `ygg up`
    - `ygg up -d`
    - `ygg up -d --host mesh.lan --host 10.0.0.7`
    - `ygg up --free-ports`
    """
    from ygg.mesh.bootstrap import Bootstrap
    from ygg.mesh.plan import Options
    from ygg.pki.hosts import hosts

    st = state(ctx)
    ports = free_ports() if free else Ports()
    options = Options(ports, public_link=not free, policy=policy.absolute() if policy else None, log_level=log_level)
    options = replace(options, host=host[0]) if host else options
    _check(options)
    secret = passphrase(st, ca_passphrase_file)
    mesh = MeshPlan(Layout(st.home.mesh), options, Bootstrap(hosts=hosts(host or ())), secret)
    if detach:
        _detached(st, mesh, ["--free-ports"] if free else [], host or [])
        return
    _foreground(st, mesh)


def down_command(ctx: typer.Context) -> None:
    """Stop the mesh of the current context."""
    st = state(ctx)
    name, context = st.context()
    if not context.mesh:
        raise CliError(f"the mesh of context {name} is not managed by ygg", hint="Stop it where it was started.")
    stopped = RunDir(Layout(Path(context.mesh)).run).stop(STOP_S)
    if st.out.as_json:
        st.out.json({"stopped": stopped})
        return
    st.out.line("mesh stopped" if stopped else "no mesh is running")


def _check(options: Options) -> None:
    if options.policy and not options.policy.is_file():
        raise CliError(f"policy file not found: {options.policy}")


@dataclass(frozen=True, slots=True)
class MeshPlan:
    """The mesh to start."""

    layout: Layout
    options: Options
    identities: Bootstrap
    passphrase: CaPassphrase


def _foreground(st: State, mesh: MeshPlan) -> None:
    import asyncio

    from ygg.mesh import up

    def announce(context: Context) -> None:
        contexts = Contexts(st.home)
        before = contexts.selects()
        contexts.put(LOCAL, context)
        contexts.use(LOCAL)
        _show_context_change(st, before)

    async def serve() -> None:
        stopping = asyncio.Event()
        up.on_signals(stopping)
        planned = up.Mesh(mesh.layout, mesh.options, announce, mesh.passphrase, mesh.identities)
        await up.run(planned, Printer(st.out), stopping)

    asyncio.run(serve())


def _detached(st: State, mesh: MeshPlan, flags: list[str], names: list[str]) -> None:
    """Start the same command in its own session and wait until it is ready or fails.

    Certificates are created in this process, so that the passphrase reaches neither a log nor another environment.
    """
    from ygg.mesh import up

    layout, options = mesh.layout, mesh.options
    run_dir = RunDir(layout.run)
    if run_dir.running():
        raise CliError(f"the mesh is already running (pid {run_dir.pid()})", hint="Stop it:  ygg down")
    check_free(options.ports, options.link_host)
    before = Contexts(st.home).selects()
    up.prepare(up.Mesh(layout, options, lambda _: None, mesh.passphrase, mesh.identities))
    arguments = ["up", "--log-level", options.log_level, *flags, *(f"--host={name}" for name in names)]
    arguments += ["--policy", str(options.policy)] if options.policy else []
    private_dir(layout.logs)
    log = layout.logs / "up.log"
    with log.open("ab") as stream:
        log.chmod(0o600)
        process = subprocess.Popen(
            [sys.executable, "-m", "ygg", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            env={**_without_passphrase(), "PYTHONPATH": ":".join(up.code_folders())},
        )
    _await_ready(st, run_dir, process, log)
    _show_context_change(st, before)


def _show_context_change(st: State, before: str) -> None:
    """Print the new current context if it changed."""
    if before == LOCAL or st.out.as_json:
        return
    if os.environ.get(VARIABLE):
        st.out.remark(
            f"commands still use context {before}, because {VARIABLE} is set; this mesh is context {LOCAL}", "yellow"
        )
        return
    st.out.remark(f"current context: {LOCAL}; switch back:  ygg context use {before}")


def _without_passphrase() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != ca_passphrase.VARIABLE}


def _await_ready(st: State, run_dir: RunDir, process: subprocess.Popen[bytes], log: Path) -> None:
    while True:
        found = run_dir.read()
        mine = found is not None and found.pid == process.pid
        if found is not None and mine and found.phase == READY:
            Printer(st.out).ready(found.ready_s)
            if not st.out.as_json:
                st.out.line(f"running in the background (pid {process.pid}); stop it:  ygg down")
            return
        if process.poll() is not None:
            if found is not None and mine and found.phase == FAILED:
                raise CliError(found.error, hint=found.hint)
            raise CliError("the mesh exited while starting", hint=f"See its log: {log}")
        time.sleep(0.05)
