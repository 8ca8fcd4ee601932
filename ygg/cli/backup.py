"""`ygg backup` and `ygg restore`: the content of the registry as a file."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from ygg.cli.progress import Counter
from ygg.cli.state import State, state
from ygg.exits import CliError, Exit
from ygg.output import counted, safe, size

if TYPE_CHECKING:
    from yggdrasil.registry.v1 import backup_pb2

_LONG_S = 7 * 24 * 3600.0
_BATCH = 500
_BATCH_BYTES = 1024 * 1024
File = Annotated[str, typer.Argument(metavar="FILE|-", help="NDJSON; - is standard output or input.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.command()(backup)
    app.command()(restore)


def backup(ctx: typer.Context, file: File) -> None:
    """Back up the registry to a file: devices, labels, contracts, groups, twins.

    The registry keeps serving meanwhile. Enrolment tokens, keys, certificates and firmware images are not included.
    An existing file is replaced only when the new one is complete.

    Examples:
    - `ygg backup mesh.ndjson`
    - `ygg backup - | gzip > mesh.ndjson.gz`
    """
    from ygg import ndjson
    from yggdrasil.registry.v1 import backup_pb2, backup_pb2_grpc

    st = state(ctx)
    count = 0
    with _output(file) as stream, st.mesh() as mesh, Counter(st.out, "backing up") as counter:
        stub = backup_pb2_grpc.BackupServiceStub(mesh.channel("registry"))
        for response in mesh.stream("registry", stub.Backup(backup_pb2.BackupRequest())):
            stream.write(ndjson.line(response.record).encode())
            count = response.done
            if count % 100 == 0 or count == response.total:
                counter.at(count, response.total)
        stream.write(ndjson.end(count).encode())
    if file == "-":
        return
    length = Path(file).stat().st_size
    if st.out.as_json:
        st.out.json({"file": file, "records": count, "bytes": length})
        return
    st.out.line(f"wrote {counted(count, 'record')} to {safe(file)} ({size(length)})")


def restore(
    ctx: typer.Context,
    file: File,
    *,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace records that differ, as a new revision."),
    ] = False,
) -> int:
    """Restore a backup into the registry.

    Existing records that differ are listed and kept, unless --overwrite is given. Safe to repeat.

    Exit code 1 if a record differs and was kept.

    Examples:
    - `ygg restore mesh.ndjson`
    - `gzip -dc mesh.ndjson.gz | ygg restore -`
    """
    from ygg import ndjson
    from yggdrasil.registry.v1 import backup_pb2_grpc

    st = state(ctx)
    with _input(file) as stream:
        total = None if file == "-" else ndjson.check(stream, safe(file))
        source = _Batches(stream, overwrite=overwrite)
        with st.mesh() as mesh, Counter(st.out, "restoring", total) as counter:
            stub = backup_pb2_grpc.BackupServiceStub(mesh.channel("registry"))
            try:
                done = mesh.call("registry", stub.Restore, source.requests(counter), timeout_s=_LONG_S)
            except Exception as e:
                raise _at_line(e) from e
    if source.fault is not None:
        so_far = f"Before that, {done.written} written and {done.equal} unchanged. Safe to repeat."
        raise CliError(source.fault.message, hint=f"{source.fault.hint}  {so_far}".strip(), code=source.fault.code)
    return _show(st, done)


class _Batches:
    """The records of a file as requests. `fault` keeps an error of the file, since gRPC reads requests in a thread."""

    def __init__(self, stream: IO[bytes], *, overwrite: bool) -> None:
        self.fault: CliError | None = None
        self._stream, self._overwrite = stream, overwrite

    def requests(self, counter: Counter) -> Iterator[backup_pb2.RestoreRequest]:
        """Yield batches of at most _BATCH records and about _BATCH_BYTES."""
        from ygg import ndjson
        from yggdrasil.registry.v1 import backup_pb2

        batch, size = backup_pb2.RestoreRequest(overwrite=self._overwrite), 0
        try:
            for record in ndjson.records(self._stream):
                batch.records.append(record)
                size += record.ByteSize()
                if len(batch.records) >= _BATCH or size >= _BATCH_BYTES:
                    yield batch
                    counter.add(len(batch.records))
                    batch, size = backup_pb2.RestoreRequest(overwrite=self._overwrite), 0
        except CliError as e:
            self.fault = e
        if batch.records:
            yield batch
            counter.add(len(batch.records))


def _show(st: State, done: backup_pb2.RestoreResponse) -> int:
    if st.out.as_json:
        keys = ("written", "equal", "different", "newer")
        st.out.json({**{key: getattr(done, key) for key in keys}, "differing": list(done.differing)})
    else:
        st.out.line(f"{done.written} written   {done.equal} unchanged   {done.different} different, kept")
        if done.newer:
            st.out.line(f"{done.newer} skipped: this mesh has a newer report or a diverged contract")
        for name in done.differing:
            st.out.line(f"  {safe(name)}")
        if done.different:
            st.out.remark("Replace them:  ygg restore FILE --overwrite")
    return int(Exit.FAILED if done.different else Exit.OK)


def _at_line(error: Exception) -> Exception:
    """Convert the record position in a registry error to a line number."""
    from services.domain.errors import YggError

    if not isinstance(error, YggError) or "position" not in error.data:
        return error
    position = error.data["position"]
    what = error.message.removeprefix(f"record {position}: ")
    return CliError(f"line {int(position) + 1} rejected: {safe(what, 1000)}", hint=error.hint)


@contextlib.contextmanager
def _output(file: str) -> Iterator[IO[bytes]]:
    """Open standard output, or a temporary file that is renamed to `file` when complete."""
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(file).absolute()
    if target.is_dir():
        raise CliError(f"{safe(file)} is a directory")
    try:
        made = tempfile.NamedTemporaryFile(prefix=f".{target.name}.", dir=target.parent, delete=False)  # noqa: SIM115
    except FileNotFoundError:
        raise CliError(f"directory not found: {target.parent}") from None
    try:
        with made:
            yield made
            made.flush()
            os.fsync(made.fileno())
        Path(made.name).replace(target)
    except BaseException:
        Path(made.name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _input(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115 - closed below
    except FileNotFoundError:
        raise CliError(f"file not found: {safe(file)}", code=Exit.USAGE) from None
    except IsADirectoryError:
        raise CliError(f"{safe(file)} is a directory", code=Exit.USAGE) from None
    with stream:
        yield stream
