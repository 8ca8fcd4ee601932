"""`ygg ota upload`: resumable upload of an image in parts.

Owns the protocol (query the missing parts, send them) and its retries. The service validates parts and images.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ygg.cli.ota_app import app
from ygg.cli.state import state
from ygg.exits import CliError
from ygg.output import Output, counted

if TYPE_CHECKING:
    from ygg.client import Mesh

PART_BYTES = 256 * 1024
"""Part size, fixed by `ImageHeader.part_sha256`."""

ATTEMPT_S = 600.0
WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Backoff between attempts; it resets whenever a part arrives."""

_TRANSIENT = ("UNAVAILABLE", "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED")


@dataclass(frozen=True, slots=True)
class Sent:
    """A stored image; `sent_bytes` were sent by this upload, 0 if it was already stored."""

    sha256: str
    size_bytes: int
    sent_bytes: int
    resumed: bool


@app.command()
def upload(ctx: typer.Context, image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image file.")]) -> None:
    """Upload an image.

    Only missing parts are sent. Repeat the command to resume an interrupted upload.

    Example:
    - `ygg ota upload fw.bin`
    """
    st = state(ctx)
    with st.mesh() as mesh:
        sent = send(mesh, st.out, image)
    if st.out.as_json:
        resumed = {"sent": sent.sent_bytes > 0, "sent_bytes": sent.sent_bytes, "resumed": sent.resumed}
        st.out.json({"sha256": sent.sha256, "size_bytes": sent.size_bytes, **resumed})
        return
    note = "" if sent.sent_bytes else "  (already stored)"
    st.out.line(f"{image.name}  {counted(sent.size_bytes, 'byte')}  sha256:{sent.sha256}{note}")


def send(mesh: Mesh, out: Output, path: Path, sleep: Callable[[float], None] = time.sleep) -> Sent:
    """Upload a file with a progress bar. Raises YggError.

    Retries for about 15 s without progress if the connection breaks.
    """
    return _Upload(mesh, out, path).run(sleep)


class _Upload:
    def __init__(self, mesh: Mesh, out: Output, path: Path) -> None:
        from yggdrasil.ota.v1 import ota_pb2, ota_pb2_grpc

        self._mesh, self._out, self._path = mesh, out, path
        self._pb: Any = ota_pb2
        self._stub = ota_pb2_grpc.OtaServiceStub(mesh.channel("ota"))
        self._header = _header(path)
        self._missing: list[int] | None = None
        self._sent_bytes, self._resumed = 0, False

    def run(self, sleep: Callable[[float], None]) -> Sent:
        import grpc

        tries = 0
        while True:
            try:
                found = self._stub.GetUpload(self._pb.GetUploadRequest(header=self._header), timeout=10)
                if self._missing is not None and len(found.missing_parts) < len(self._missing):
                    tries = 0
                self._missing = list(found.missing_parts)
                if not found.HasField("image"):
                    self._transfer()
                return Sent(self._header.sha256, self._header.size_bytes, self._sent_bytes, self._resumed)
            except grpc.RpcError as e:
                retry = e.code().name in _TRANSIENT and self._missing is not None  # fail fast if never connected
                if not retry or tries == len(WAITS_S):
                    raise self._mesh.error("ota", e) from e
                self._out.remark(
                    f"upload interrupted ({e.code().name.lower()}); resuming in {WAITS_S[tries]:g} s", "dim"
                )
                sleep(WAITS_S[tries])
                tries += 1

    def _transfer(self) -> None:
        count = len(self._header.part_sha256)
        if stored := count - len(self._missing or []):
            self._resumed = True
            self._out.remark(f"resuming: {stored} of {count} parts already stored")
        from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

        quiet = self._out.as_json or not self._out.remarks.is_terminal
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=self._out.remarks, transient=True, disable=quiet) as progress:
            size = self._header.size_bytes
            left = sum(min(PART_BYTES, size - index * PART_BYTES) for index in self._missing or [])
            task = progress.add_task("upload", total=size, completed=size - left)
            self._stub.UploadImage(self._messages(lambda count: progress.advance(task, count)), timeout=ATTEMPT_S)

    def _messages(self, advance: Callable[[int], None]) -> Iterator[Any]:
        yield self._pb.UploadImageRequest(header=self._header)
        with self._path.open("rb") as stream:
            for index in self._missing or []:
                stream.seek(index * PART_BYTES)
                data = stream.read(PART_BYTES)
                yield self._pb.UploadImageRequest(part=self._pb.ImagePart(index=index, data=data))
                self._sent_bytes += len(data)
                advance(len(data))


def _header(path: Path) -> Any:
    from yggdrasil.ota.v1 import ota_pb2

    whole, size, parts = hashlib.sha256(), 0, []
    try:
        with path.open("rb") as stream:
            while part := stream.read(PART_BYTES):
                whole.update(part)
                size += len(part)
                parts.append(hashlib.sha256(part).digest())
    except OSError as e:
        raise CliError(f"cannot read {path}: {e.strerror}") from e
    if not size:
        raise CliError(f"{path} is empty")
    return ota_pb2.ImageHeader(size_bytes=size, sha256=whole.hexdigest(), part_sha256=parts)
