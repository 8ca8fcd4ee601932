"""Uploads resume after network failures, after kills of ota and of the command, and on another replica."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from services.chassis import channel, status
from services.ota.model.parts import PART_BYTES
from tests.fixtures.images import image_bytes
from tests.fixtures.pki import Pki
from tests.fixtures.process import ROOT, ServiceProcess
from tests.fixtures.relay import Relay, relay
from tests.fixtures.wait import eventually, pace
from tests.integration.ota.conftest import StartOta
from yggdrasil.ota.v1 import ota_pb2 as pb
from yggdrasil.ota.v1 import ota_pb2_grpc

COUNT = 25
SIZE = (COUNT - 1) * PART_BYTES + 1234  # above S3's 5 MiB, so that S3 stores it in parts as well


@dataclass(frozen=True)
class Upload:
    """A unique image, because the tests share the stores."""

    data: bytes = field(default_factory=lambda: image_bytes(SIZE, secrets.randbits(32)))

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def header(self) -> pb.ImageHeader:
        parts = [hashlib.sha256(self.part(index)).digest() for index in range(COUNT)]
        return pb.ImageHeader(size_bytes=SIZE, sha256=self.sha256, part_sha256=parts)

    def part(self, index: int) -> bytes:
        return self.data[index * PART_BYTES : (index + 1) * PART_BYTES]

    def messages(self, indexes: Iterable[int]) -> Iterable[pb.UploadImageRequest]:
        yield pb.UploadImageRequest(header=self.header)
        for index in indexes:
            yield pb.UploadImageRequest(part=pb.ImagePart(index=index, data=self.part(index)))

    async def look(self, ota: Any) -> pb.GetUploadResponse:
        found: pb.GetUploadResponse = await ota.GetUpload(pb.GetUploadRequest(header=self.header), timeout=10)
        return found

    async def missing(self, ota: Any) -> list[int]:
        return list((await self.look(ota)).missing_parts)

    async def begin(self, ota: Any, count: int) -> Any:
        """Start an upload, wait until its first `count` parts are stored, and leave it stalled."""

        async def some() -> AsyncIterator[pb.UploadImageRequest]:
            for message in self.messages(range(count)):
                yield message
            await asyncio.get_running_loop().create_future()

        call = ota.UploadImage(some())

        async def kept() -> bool:
            return len(await self.missing(ota)) == COUNT - count

        await eventually(kept, 20, f"{count} parts are kept")
        return call

    async def finish(self, ota: Any) -> None:
        """Send the missing parts and read the image back."""
        sent = await ota.UploadImage(self.messages(await self.missing(ota)), timeout=60)
        assert sent.image.sha256 == self.sha256
        request = pb.DownloadImageRequest(sha256=self.sha256)
        assert b"".join([answer.chunk async for answer in ota.DownloadImage(request, timeout=60)]) == self.data


@pytest.fixture
def image() -> Upload:
    return Upload()


@contextlib.asynccontextmanager
async def stub(endpoint: str, pki: Pki) -> AsyncIterator[Any]:
    async with channel.connect(endpoint, pki.files("user", "operator"), "ota") as connected:
        yield ota_pb2_grpc.OtaServiceStub(connected)


async def test_after_a_kill_of_ota_at_any_part(start_ota: StartOta, pki: Pki, image: Upload) -> None:
    process = start_ota()
    for count in (1, 24):
        async with stub(process.listen, pki) as ota:
            call = await image.begin(ota, count)
            process.kill()
            with pytest.raises(grpc.aio.AioRpcError):
                await call
        process = start_ota()
        async with stub(process.listen, pki) as ota:
            assert await image.missing(ota) == list(range(count, COUNT))
    async with stub(process.listen, pki) as ota:
        await image.finish(ota)
        found = await image.look(ota)
        assert (found.image.sha256, list(found.missing_parts)) == (image.sha256, [])


async def test_a_kill_while_the_parts_are_joined_leaves_no_half_image(
    start_ota: StartOta, pki: Pki, image: Upload
) -> None:
    for wait_s in (0.0, 0.03):
        process = start_ota()
        async with stub(process.listen, pki) as ota:
            held = await image.begin(ota, COUNT)
            joining = ota.UploadImage(image.messages([]))
            await pace(wait_s)
            process.kill()
            await asyncio.gather(held, joining, return_exceptions=True)
        process = start_ota()
        async with stub(process.listen, pki) as ota:
            images = (await ota.ListImages(pb.ListImagesRequest())).images
            assert all(each.size_bytes == SIZE for each in images if each.sha256 == image.sha256)
            await image.finish(ota)
            await ota.DeleteImage(pb.DeleteImageRequest(sha256=image.sha256))


async def test_at_another_replica_while_the_first_still_has_it(
    start_ota: StartOta, pki: Pki, image: Upload, tmp_path: Path
) -> None:
    first, second = start_ota(), start_ota(data_dir=tmp_path / "second")
    async with stub(first.listen, pki) as one, stub(second.listen, pki) as two:
        call = await image.begin(one, 10)
        assert await image.missing(two) == list(range(10, COUNT))
        await image.finish(two)
        call.cancel()
        assert (await image.look(one)).image.sha256 == image.sha256


async def test_cuts_at_any_byte_lose_less_than_a_part(start_ota: StartOta, pki: Pki, image: Upload) -> None:
    process = start_ota()
    async with relay(int(process.listen.rpartition(":")[2])) as between, stub(f"127.0.0.1:{between.port}", pki) as ota:
        left = await image.missing(ota)
        for after in (PART_BYTES // 2, PART_BYTES + 1, 2 * PART_BYTES + 77, 5 * PART_BYTES):
            between.after_sent(after)
            with pytest.raises(grpc.aio.AioRpcError):
                await ota.UploadImage(image.messages(left), timeout=60)
            now = await eventually(lambda: _settled(image, ota), 20, "the service is reached again")
            assert set(now) <= set(left)
            left = now
        assert len(left) < COUNT
        before = between.sent_bytes
        await image.finish(ota)
        assert between.sent_bytes - before < (len(left) + 1) * PART_BYTES


async def _settled(image: Upload, ota: Any) -> list[int] | None:
    with contextlib.suppress(grpc.aio.AioRpcError):
        return await image.missing(ota)
    return None


async def test_many_concurrent_uploads_of_one_image(start_ota: StartOta, pki: Pki, image: Upload) -> None:
    async with stub(start_ota().listen, pki) as ota:

        async def one() -> str:
            """Upload as the command does: query and send the missing parts, again if concurrent uploads interfered."""
            while True:
                try:
                    answer = await ota.UploadImage(image.messages(await image.missing(ota)), timeout=60)
                except grpc.aio.AioRpcError as e:
                    info = status.error_info(e)
                    assert (info.reason if info else "") == "PARTS_MISSING"
                    continue
                return str(answer.image.sha256)

        assert set(await asyncio.gather(*(one() for _ in range(6)))) == {image.sha256}
        await image.finish(ota)


async def test_invalid_part_is_refused(start_ota: StartOta, pki: Pki, image: Upload) -> None:
    async with stub(start_ota().listen, pki) as ota:
        other = pb.UploadImageRequest(part=pb.ImagePart(index=0, data=image.part(1)))
        beyond = pb.UploadImageRequest(part=pb.ImagePart(index=2**32 - 1, data=b"x"))
        short = pb.ImageHeader(size_bytes=SIZE, sha256=image.sha256, part_sha256=image.header.part_sha256[:-1])
        head, chunk = pb.UploadImageRequest(header=image.header), pb.UploadImageRequest(chunk=b"x")
        refused = {
            "another part's bytes": ([head, other], "PART_MISMATCH"),
            "a place beyond the last": ([head, beyond], "PART_MISMATCH"),
            "too few parts named": ([pb.UploadImageRequest(header=short)], "INVALID_UPLOAD"),
            "a chunk among parts": ([head, chunk], "INVALID_UPLOAD"),
        }
        for fault, (sent, reason) in refused.items():
            with pytest.raises(grpc.aio.AioRpcError) as e:
                await ota.UploadImage(iter(sent), timeout=30)
            info = status.error_info(e.value)
            assert (e.value.code(), info.reason if info else "") == (grpc.StatusCode.INVALID_ARGUMENT, reason), fault
        assert await image.missing(ota) == list(range(COUNT))


class Command:
    """`ygg ota upload` as a separate process, through a relay."""

    def __init__(self, home: Path, pki: Pki, port: int, image: Upload) -> None:
        self.environment = {**os.environ, "YGG_HOME": str(home), "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
        self.environment.pop("YGG_CONTEXT", None)
        self.file = home / "fw.bin"
        home.mkdir()
        self.file.write_bytes(image.data)
        identity = str(pki.directory("user", "operator"))
        self.context = ["context", "set", "test", "--identity", identity, "--ota", f"127.0.0.1:{port}"]

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        command = [sys.executable, "-m", "ygg", *words]
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(*command, env=self.environment, stdout=pipe, stderr=pipe)

    async def upload(self, meanwhile: Callable[[asyncio.subprocess.Process], None] = lambda _: None) -> Any:
        """Return the answer (None after a failure or kill) and the standard error."""
        await (await self.start(*self.context)).wait()
        process = await self.start("--context", "test", "ota", "upload", str(self.file), "--json")
        meanwhile(process)
        out, remarks = await asyncio.wait_for(process.communicate(), 90)
        return (json.loads(out) if process.returncode == 0 else None), remarks.decode()


@contextlib.asynccontextmanager
async def between(
    process: ServiceProcess, pki: Pki, tmp_path: Path, image: Upload
) -> AsyncIterator[tuple[Relay, Command]]:
    async with relay(int(process.listen.rpartition(":")[2])) as found:
        yield found, Command(tmp_path / "home", pki, found.port, image)


async def test_command_resumes_and_reports_it(start_ota: StartOta, pki: Pki, image: Upload, tmp_path: Path) -> None:
    process = start_ota()
    async with between(process, pki, tmp_path, image) as (network, command):
        network.after_sent(10 * PART_BYTES)
        answer, remarks = await command.upload()
    assert (answer["sha256"], answer["resumed"]) == (image.sha256, True), remarks
    assert answer["sent_bytes"] < SIZE + 3 * PART_BYTES  # parts in flight when the connection broke
    assert "upload interrupted" in remarks
    assert "parts already stored" in remarks


async def test_the_command_outlives_a_kill_of_ota(start_ota: StartOta, pki: Pki, image: Upload, tmp_path: Path) -> None:
    process = start_ota()
    async with between(process, pki, tmp_path, image) as (network, command):
        listen = process.listen

        def restart() -> None:
            process.kill()
            start_ota(listen=listen)

        network.after_sent(10 * PART_BYTES, restart)
        answer, remarks = await command.upload()
    assert (answer["sha256"], answer["resumed"]) == (image.sha256, True), remarks


async def test_killed_command_resumes_when_repeated(
    start_ota: StartOta, pki: Pki, image: Upload, tmp_path: Path
) -> None:
    async with between(start_ota(), pki, tmp_path, image) as (network, command):
        answer, _ = await command.upload(lambda process: network.after_sent(15 * PART_BYTES, process.kill))
        assert answer is None
        answer, remarks = await command.upload()
        assert answer["resumed"]
        assert 0 < answer["sent_bytes"] < SIZE - 5 * PART_BYTES
        assert "parts already stored" in remarks
        answer, remarks = await command.upload()
        assert (answer["sent"], answer["sent_bytes"], remarks) == (False, 0, "")
