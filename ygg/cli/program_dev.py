"""`ygg program dev`: a program under development, replaced at each save, gone at the end.

Owns a deployment of its own, `NAME_dev`, of one version that may change, 0.0.0-dev. What is released is never touched.

    save --> loaded and deployed --> its log goes on
      |  refused: said, and what ran before goes on
    Ctrl-C, SIGTERM --> deployment, store and version are gone
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
"""Between two looks at the file; one that is still being written is read at the next."""


def dev(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A .lua or .scm file; its first comments are its manifest.")],
    *,
    device: Annotated[str, typer.Option("--device", "-d", metavar="DEVICE", help="On this device.")] = "",
    on_mesh: Annotated[bool, typer.Option("--mesh", help="Without a default device.")] = False,
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="Its id; else that of the file, with _dev.")] = "",
    lang: Annotated[str, typer.Option("--lang", help="lua or scheme, where the file's name does not tell.")] = "",
    arg: Annotated[list[str] | None, typer.Option("--arg", "-a", metavar="NAME=VALUE", help="Goes into args.")] = None,
) -> None:
    """Run a program while you write it: each save replaces what runs, its log is shown, Ctrl-C ends it.

    It runs as a deployment of its own, NAME_dev 0.0.0-dev: no version is made, and released ones are not touched. Its
    store stays from save to save. A text that is refused leaves running what ran before.

    Example:  `ygg program dev thermostat.lua -d porch-1`
    """
    from ygg import program_files

    if bool(device) == on_mesh:
        raise UsageError("no target given", hint="Pass --device ID or --mesh.")
    st = state(ctx)
    words = values.assignments(arg or ())
    given = program_files.arguments(program_files.package(file, lang=lang).manifest, words) if words else {}
    with st.mesh() as mesh:
        bench = _Bench(st, mesh, file, _id(file, name), device, lang, given)
        bench.begin()
        signal.signal(signal.SIGTERM, _interrupted)
        try:
            bench.work()
        finally:
            bench.end()


def _interrupted(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _id(file: Path, name: str) -> str:
    from ygg import program_files

    return name or program_files.name_of(file)[: 32 - len(SUFFIX)].rstrip("_") + SUFFIX


class _Bench:
    """One program under development."""

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
        """Looks at what is there. Raises CliError where the id is taken by what was released."""
        from yggdrasil.loki.v1 import program_pb2 as pb

        if not self._file.is_file():
            raise UsageError(f"there is no file {self._file}")
        if self._device:
            following.known(self._st, self._mesh, [self._device])
        programs = {one.id: one for one in self._call("ListPrograms", pb.ListProgramsRequest()).programs}
        for one in programs.values():
            for made in one.deployments:
                if made.id == self._id and made.version != VERSION:
                    hint = "Give this one another id:  --as NAME"
                    raise CliError(f"{made.id} is deployed already, as {made.program_id} {made.version}", hint=hint)
        instances = self._call("ListInstances", pb.ListInstancesRequest(device_id=self._device)).instances
        name = self._id.removesuffix(SUFFIX)
        if self._device and any(i.program_id == name and i.state == pb.INSTANCE_STATE_RUNNING for i in instances):
            told = f"{safe(name)} runs on {safe(self._device)}, too: both act on it."
            self._st.out.remark(f"{told} Stop it meanwhile:  ygg program stop {safe(name)}", "yellow")

    def work(self) -> None:
        """Until interrupted: each save is loaded."""
        following.waiting(self._st, f"Each save of {self._file} replaces {self._id}. Ctrl-C ends it.")
        for _ in _saves(self._file):
            if self._load() and self._log is None:
                threading.Thread(target=self._follow, name="log", daemon=True).start()

    def _load(self) -> bool:
        """Whether what was saved runs now."""
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
            self._refused(e)
            return False
        self._loads += 1
        again = "" if self._loads == 1 else " again"
        self._say("loaded", f"{self._file.name} runs{again} as {self._id}", "green", checksum=package.manifest.checksum)
        return True

    def _refused(self, error: BaseException) -> None:
        from ygg.cli.failure import describe

        failure = describe(error)
        goes_on = "; what ran before goes on" if self._loads else ""
        text = f"{failure.message}{goes_on}" + (f"\n  {failure.hint}" if failure.hint else "")
        self._say("refused", text, "red", message=failure.message, hint=failure.hint, reason=failure.reason)

    def _say(self, event: str, text: str, style: str, **more: str) -> None:
        out = self._st.out
        if out.as_json:
            out.record(
                {"event": event, "deployment": self._id, "time": datetime.now().astimezone().isoformat(), **more}
            )
        else:
            out.remark(f"{datetime.now():%H:%M:%S} {text}", style)

    def _follow(self) -> None:
        """The log, until the channel is closed; where Loki went away it goes on once it is back."""
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
        """Nothing of it stays: neither deployment nor store nor version."""
        from services.domain.errors import Code, YggError
        from yggdrasil.loki.v1 import program_pb2 as pb

        if self._log is not None:
            self._log.cancel()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it behind
        try:
            self._call("UnloadProgram", pb.UnloadProgramRequest(
                program_id=self._id, version=VERSION, end_deployments=True
            ))  # fmt: skip
        except YggError as e:
            if e.code is not Code.NOT_FOUND:
                self._st.out.remark(f"{self._id} is still there. End it:  ygg program unload {self._id}", "red")
                raise
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._say("ended", f"{self._id} is ended, its store and version are gone", "dim")


def _saves(file: Path) -> Iterator[None]:
    """Yields at first, and after each save once the file rests."""
    loaded: object = None
    while True:
        seen = _mark(file)
        if seen is not None and seen != loaded:
            time.sleep(LOOK_S)
            if _mark(file) == seen:
                loaded = seen
                yield
            continue
        time.sleep(LOOK_S)


def _mark(file: Path) -> tuple[int, int, int] | None:
    """What changes with a save; None while an editor has the file away."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
