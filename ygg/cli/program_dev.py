"""`ygg program dev`: run a program under development and reload it on each save.

Owns the deployment `NAME_dev` with the mutable version 0.0.0-dev; released versions are never touched.

    save --> load and deploy --> follow its log
      |  rejected: print the error; the previous save keeps running
    Ctrl-C, SIGTERM --> delete deployment, store and version
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ygg import values
from ygg.cli import following
from ygg.cli.state import State, state
from ygg.exits import CliError, UsageError
from ygg.output import safe

if TYPE_CHECKING:
    from ygg.client import Mesh
    from yggdrasil.common.v1 import value_pb2

VERSION, SUFFIX = "0.0.0-dev", "_dev"
LONG_S = 60.0
LOOK_S = 0.2
"""Polling interval of the file, in seconds; a file that is still being written is read at the next poll."""


def dev(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .lua or .scm file; its leading comments are the manifest.")
    ],
    *,
    device: Annotated[str, typer.Option("--device", "-d", metavar="DEVICE", help="Run on this device.")] = "",
    on_mesh: Annotated[bool, typer.Option("--mesh", help="Run without a default device.")] = False,
    name: Annotated[
        str, typer.Option("--as", metavar="NAME", help="Deployment id; default: from the file name, with _dev.")
    ] = "",
    lang: Annotated[str, typer.Option("--lang", metavar="LANG", help="lua or scheme; default: by file suffix.")] = "",
    arg: Annotated[
        list[str] | None,
        typer.Option("--arg", "-a", metavar="NAME=VALUE", help="Argument of the program; repeatable."),
    ] = None,
) -> None:
    """Run a program during development and reload it on each save.

    Shows its log until Ctrl-C, which deletes the deployment, its store and its version. The program runs as deployment
    NAME_dev 0.0.0-dev and does not touch released versions. Its store is kept across reloads. If a save is rejected,
    the previous one keeps running.

    Example:
    - `ygg program dev thermostat.lua -d porch-1`
    """
    from ygg import program_files

    if bool(device) == on_mesh:
        raise UsageError("pass exactly one target: --device ID or --mesh")
    st = state(ctx)
    words = values.assignments(arg or ())
    given = program_files.arguments(program_files.package(file, lang=lang).manifest, words) if words else {}
    with st.mesh() as mesh:
        session = _DevSession(st, mesh, file, _id(file, name), device, lang, given)
        session.begin()
        signal.signal(signal.SIGTERM, _interrupted)
        try:
            session.run()
        finally:
            session.end()


def _interrupted(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _id(file: Path, name: str) -> str:
    from ygg import program_files

    return name or program_files.name_of(file)[: 32 - len(SUFFIX)].rstrip("_") + SUFFIX


class _DevSession:
    """The deployment of a program under development."""

    def __init__(
        self,
        st: State,
        mesh: Mesh,
        file: Path,
        program_id: str,
        device: str,
        lang: str,
        given: Mapping[str, value_pb2.Value],
    ) -> None:
        from yggdrasil.loki.v1 import program_pb2_grpc

        self._st, self._mesh, self._file, self._id, self._device = st, mesh, file, program_id, device
        self._lang, self._given = lang, given
        self._stub: Any = program_pb2_grpc.ProgramServiceStub(mesh.channel("loki"))
        self._log: Any = None
        self._loads = 0

    def _call(self, method: str, request: Any) -> Any:
        return self._mesh.call("loki", getattr(self._stub, method), request, timeout_s=LONG_S)

    def begin(self) -> None:
        """Check the target. Raises CliError if a released deployment uses the id."""
        from yggdrasil.loki.v1 import program_pb2 as pb

        if not self._file.is_file():
            raise UsageError(f"file not found: {self._file}")
        if self._device:
            following.known_devices(self._st, self._mesh, [self._device])
        programs = {one.id: one for one in self._call("ListPrograms", pb.ListProgramsRequest()).programs}
        for one in programs.values():
            for made in one.deployments:
                if made.id == self._id and made.version != VERSION:
                    hint = "Choose another id:  --as NAME"
                    raise CliError(f"{made.id} is already deployed as {made.program_id} {made.version}", hint=hint)
        instances = self._call("ListInstances", pb.ListInstancesRequest(device_id=self._device)).instances
        name = self._id.removesuffix(SUFFIX)
        if self._device and any(i.program_id == name and i.state == pb.INSTANCE_STATE_RUNNING for i in instances):
            conflict = f"{safe(name)} also runs on {safe(self._device)}; both control it."
            self._st.out.remark(f"{conflict} Stop it meanwhile:  ygg program stop {safe(name)}", "yellow")

    def run(self) -> None:
        """Load each save until interrupted."""
        following.notice(self._st, f"Watching {self._file}; each save reloads {self._id}. Press Ctrl-C to stop.")
        for _ in _saves(self._file):
            if self._load() and self._log is None:
                threading.Thread(target=self._follow, name="log", daemon=True).start()

    def _load(self) -> bool:
        """Load and deploy the file; return whether it succeeded."""
        from services.domain.errors import YggError
        from ygg import program_files
        from yggdrasil.loki.v1 import program_pb2 as pb

        try:
            package = program_files.package(self._file, lang=self._lang, program_id=self._id, version=VERSION)
            self._call("LoadProgram", pb.LoadProgramRequest(package=package, replace=True))
            target = pb.ProgramTarget(device_id=self._device) if self._device else pb.ProgramTarget(mesh=True)
            self._call("DeployProgram", pb.DeployProgramRequest(
                program_id=self._id, version=VERSION, target=target, deployment_id=self._id, arguments=self._given
            ))  # fmt: skip
        except (YggError, CliError, OSError) as e:
            self._report_rejected(e)
            return False
        self._loads += 1
        verb = "loaded" if self._loads == 1 else "reloaded"
        self._report("loaded", f"{self._file.name} {verb} as {self._id}", "green", checksum=package.manifest.checksum)
        return True

    def _report_rejected(self, error: BaseException) -> None:
        from ygg.cli.failure import describe

        failure = describe(error)
        still_running = "; the previous save keeps running" if self._loads else ""
        text = f"{failure.message}{still_running}" + (f"\n  {failure.hint}" if failure.hint else "")
        self._report("refused", text, "red", message=failure.message, hint=failure.hint, reason=failure.reason)

    def _report(self, event: str, text: str, style: str, **more: str) -> None:
        out = self._st.out
        if out.as_json:
            out.record(
                {"event": event, "deployment": self._id, "time": datetime.now().astimezone().isoformat(), **more}
            )
        else:
            out.remark(f"{datetime.now():%H:%M:%S} {text}", style)

    def _follow(self) -> None:
        """Print the log until the channel is closed; reconnect after an outage of loki."""
        import grpc

        from ygg.cli import program_show
        from yggdrasil.loki.v1 import program_pb2 as pb

        tail = 500
        while True:
            request = pb.WatchLogsRequest(deployment_id=self._id, tail=tail, follow=True)
            with contextlib.suppress(grpc.RpcError, ValueError):
                self._log = self._stub.WatchLogs(request)
                for line in self._log:
                    program_show.line(self._st, line)
            tail = 0
            time.sleep(1.0)

    def end(self) -> None:
        """Delete deployment, store and version."""
        from services.domain.errors import Code, YggError
        from yggdrasil.loki.v1 import program_pb2 as pb

        if self._log is not None:
            self._log.cancel()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the cleanup
        try:
            self._call("UnloadProgram", pb.UnloadProgramRequest(
                program_id=self._id, version=VERSION, end_deployments=True
            ))  # fmt: skip
        except YggError as e:
            if e.code is not Code.NOT_FOUND:
                self._st.out.remark(f"{self._id} was not deleted. Delete it:  ygg program unload {self._id}", "red")
                raise
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._report("ended", f"deleted {self._id}, its store and its version", "dim")


def _saves(file: Path) -> Iterator[None]:
    """Yield once at the start, then after each save once the file is stable."""
    loaded: object = None
    while True:
        seen = _fingerprint(file)
        if seen is not None and seen != loaded:
            time.sleep(LOOK_S)
            if _fingerprint(file) == seen:
                loaded = seen
                yield
            continue
        time.sleep(LOOK_S)


def _fingerprint(file: Path) -> tuple[int, int, int] | None:
    """Return mtime, size and inode; None while an editor replaces the file."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
