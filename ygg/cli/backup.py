"""`ygg backup` and `ygg restore`: all that the registry holds, as a file."""

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
    """Write everything that the registry holds to a file, while it runs: devices, labels, contracts, groups, twins.

    Not in it: enrolment tokens, keys and certificates, firmware images. A file that is there is replaced once all
    of the new one is written.

    Examples:  `ygg backup mesh.ndjson`   `ygg backup - | gzip > mesh.ndjson.gz`
    """
    from ygg import ndjson
    from yggdrasil.registry.v1 import backup_pb2, backup_pb2_grpc

    st = state(ctx)
    count = 0
    with _output(file) as stream, st.mesh() as mesh, Counter(st.out, "backing up") as counter:
        stub = backup_pb2_grpc.BackupServiceStub(mesh.channel("registry"))
        for answer in mesh.stream("registry", stub.Backup(backup_pb2.BackupRequest())):
            stream.write(ndjson.line(answer.record).encode())
            count = answer.done
            if count % 100 == 0 or count == answer.total:
                counter.at(count, answer.total)
        stream.write(ndjson.end(count).encode())
    if file == "-":
        return
    length = Path(file).stat().st_size
    if st.out.as_json:
        st.out.json({"file": file, "records": count, "bytes": length})
        return
    st.out.line(f"{counted(count, 'record')} in {safe(file)} ({size(length)})")


def restore(
    ctx: typer.Context,
    file: File,
    *,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Where something is there and differs, the backup's counts, as a new revision."
        ),
    ] = False,
) -> int:
    """Restore a backup into this mesh. What is there and equal is left; what differs is named and left alone.

    It may be repeated. Exit code 1 where something differs and was left alone.

    Examples:  `ygg restore mesh.ndjson`   `gzip -dc mesh.ndjson.gz | ygg restore -`
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
        told = f"Before it {done.written} written, {done.equal} there already; repeating is harmless."
        raise CliError(source.fault.message, hint=f"{source.fault.hint}  {told}".strip(), code=source.fault.code)
    return _told(st, done)


class _Batches:
    """The records of a file as requests. A fault of the file ends them and is kept: gRPC reads them in a thread."""

    def __init__(self, stream: IO[bytes], *, overwrite: bool) -> None:
        self.fault: CliError | None = None
        self._stream, self._overwrite = stream, overwrite

    def requests(self, counter: Counter) -> Iterator[backup_pb2.RestoreRequest]:
        """Batches of at most _BATCH records and about _BATCH_BYTES."""
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


def _told(st: State, done: backup_pb2.RestoreResponse) -> int:
    if st.out.as_json:
        keys = ("written", "equal", "different", "newer")
        st.out.json({**{key: getattr(done, key) for key in keys}, "differing": list(done.differing)})
    else:
        st.out.line(f"{done.written} written   {done.equal} there already   {done.different} different, left alone")
        if done.newer:
            st.out.line(
                f"{done.newer} not restored: devices reported later here, or a contract here has gone another way since"
            )
        for name in done.differing:
            st.out.line(f"  {safe(name)}")
        if done.different:
            st.out.remark("To let the backup count instead:  ygg restore FILE --overwrite")
    return int(Exit.FAILED if done.different else Exit.OK)


def _at_line(error: Exception) -> Exception:
    """The registry names a record by its position; a person looks for the line."""
    from services.domain.errors import YggError

    if not isinstance(error, YggError) or "position" not in error.data:
        return error
    position = error.data["position"]
    what = error.message.removeprefix(f"record {position}: ")
    return CliError(f"line {int(position) + 1} is refused: {safe(what, 1000)}", hint=error.hint)


@contextlib.contextmanager
def _output(file: str) -> Iterator[IO[bytes]]:
    """Standard output, or a file that takes its name only once it is whole."""
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(file).absolute()
    if target.is_dir():
        raise CliError(f"{safe(file)} is a folder")
    try:
        made = tempfile.NamedTemporaryFile(prefix=f".{target.name}.", dir=target.parent, delete=False)  # noqa: SIM115
    except FileNotFoundError:
        raise CliError(f"there is no folder {target.parent}") from None
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
        raise CliError(f"there is no file {safe(file)}", code=Exit.USAGE) from None
    except IsADirectoryError:
        raise CliError(f"{safe(file)} is a folder", code=Exit.USAGE) from None
    with stream:
        yield stream
