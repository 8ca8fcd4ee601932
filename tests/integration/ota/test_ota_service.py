"""ota as a process, over mutual TLS, with each of its object stores."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.chassis import channel, status
from tests.fixtures.images import image_bytes
from tests.fixtures.nats import NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess
from tests.fixtures.wait import eventually
from tests.integration.ota.conftest import StartOta
from yggdrasil.ota.v1 import ota_pb2 as pb
from yggdrasil.ota.v1 import ota_pb2_grpc

MIB = 1024 * 1024


@contextlib.asynccontextmanager
async def stub(ota: ServiceProcess, pki: Pki) -> AsyncIterator[ota_pb2_grpc.OtaServiceAsyncStub]:
    async with channel.connect(ota.listen, pki.files("user", "operator"), "ota") as connected:
        yield ota_pb2_grpc.OtaServiceStub(connected)


def header(data: bytes, size: int | None = None, digest: str | None = None) -> pb.UploadImageRequest:
    announced = pb.ImageHeader(
        size_bytes=len(data) if size is None else size, sha256=digest or hashlib.sha256(data).hexdigest()
    )
    return pb.UploadImageRequest(header=announced)


def messages(data: bytes, chunk: int = MIB) -> Iterator[pb.UploadImageRequest]:
    yield header(data)
    for start in range(0, len(data), chunk):
        yield pb.UploadImageRequest(chunk=data[start : start + chunk])


async def download(client: Any, sha256: str, **part: int) -> bytes:
    request = pb.DownloadImageRequest(sha256=sha256, **part)
    answers = [answer.chunk async for answer in client.DownloadImage(request, timeout=60)]
    assert max(map(len, answers)) <= 64 * 1024
    return b"".join(answers)


async def digests(client: Any) -> set[str]:
    return {image.sha256 for image in (await client.ListImages(pb.ListImagesRequest())).images}


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    """Return the status and the reason of a failed call."""
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await call
    info = status.error_info(e.value)
    return e.value.code(), info.reason if info else ""


async def test_an_image_is_stored_found_read_and_removed(start_ota: StartOta, pki: Pki) -> None:
    data = image_bytes(9 * MIB + 17)
    digest = hashlib.sha256(data).hexdigest()
    async with stub(start_ota(), pki) as ota:
        stored = (await ota.UploadImage(messages(data), timeout=60)).image
        assert (stored.sha256, stored.size_bytes) == (digest, len(data))
        assert (await ota.GetImage(pb.GetImageRequest(sha256=digest))).image == stored
        assert digest in await digests(ota)
        assert await download(ota, digest) == data
        assert await download(ota, digest, offset_bytes=8 * MIB) == data[8 * MIB :]
        assert await download(ota, digest, offset_bytes=70_000, length_bytes=70_000) == data[70_000:140_000]
        again = await ota.UploadImage(messages(data), timeout=60)
        assert again.image == stored
        await ota.DeleteImage(pb.DeleteImageRequest(sha256=digest))
        assert await refusal(ota.GetImage(pb.GetImageRequest(sha256=digest))) == (
            grpc.StatusCode.NOT_FOUND,
            "IMAGE_NOT_FOUND",
        )
        assert await refusal(download(ota, digest)) == (grpc.StatusCode.NOT_FOUND, "IMAGE_NOT_FOUND")
        assert digest not in await digests(ota)


async def test_ota_is_healthy(start_ota: StartOta, pki: Pki) -> None:
    ota = start_ota()
    async with channel.connect(ota.listen, pki.files("user", "operator"), "ota") as connected:
        health = health_pb2_grpc.HealthStub(connected)
        for name in ("", "yggdrasil.ota.v1.OtaService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert ota.terminate() == 0


async def test_images_outlive_kills_of_ota_and_of_nats(
    start_ota: StartOta, fresh_nats: NatsServer, pki: Pki, tmp_path: Path
) -> None:
    data = image_bytes(3 * MIB, seed=5)
    digest = hashlib.sha256(data).hexdigest()
    first = start_ota()
    async with stub(first, pki) as ota:
        await ota.UploadImage(messages(data), timeout=60)
    first.kill()
    fresh_nats.kill()
    fresh_nats.start()
    second = start_ota()
    async with stub(second, pki) as ota:
        assert await download(ota, digest) == data
    second.kill()
    async with stub(start_ota(data_dir=tmp_path / "cold"), pki) as ota:  # a cold cache: read from the store
        assert await download(ota, digest) == data
        await ota.DeleteImage(pb.DeleteImageRequest(sha256=digest))


BODY = image_bytes(100_000, seed=9)
REFUSED = {
    "wrong digest": ([header(BODY, digest="0" * 64), pb.UploadImageRequest(chunk=BODY)], "DIGEST_MISMATCH"),
    "too few bytes": ([header(BODY), pb.UploadImageRequest(chunk=BODY[:-1])], "SIZE_MISMATCH"),
    "too many bytes": (
        [header(BODY), pb.UploadImageRequest(chunk=BODY), pb.UploadImageRequest(chunk=b"x")],
        "SIZE_MISMATCH",
    ),
    "no bytes": ([header(BODY)], "SIZE_MISMATCH"),
    "an announced size of zero": ([header(b"")], "INVALID_UPLOAD"),
    "more than 64 MiB announced": ([header(BODY, size=64 * MIB + 1)], "INVALID_UPLOAD"),
    "a size near 2^64": ([header(BODY, size=2**64 - 1)], "INVALID_UPLOAD"),
    "an upper-case digest": ([header(BODY, digest="A" * 64)], "INVALID_ID"),
    "a digest that is a path": ([header(BODY, digest="../../etc/passwd")], "INVALID_ID"),
    "no message at all": ([], "INVALID_UPLOAD"),
    "a chunk before the header": ([pb.UploadImageRequest(chunk=BODY)], "INVALID_UPLOAD"),
    "a second header": ([header(BODY), header(BODY)], "INVALID_UPLOAD"),
    "a message without a part": ([header(BODY), pb.UploadImageRequest()], "INVALID_UPLOAD"),
    "an empty chunk": ([header(BODY), pb.UploadImageRequest(chunk=b"")], "INVALID_UPLOAD"),
    "a chunk above 1 MiB": ([header(bytes(2 * MIB)), pb.UploadImageRequest(chunk=bytes(MIB + 1))], "INVALID_UPLOAD"),
}


async def test_bad_uploads_are_refused_and_store_nothing(start_ota: StartOta, pki: Pki) -> None:
    async with stub(start_ota(), pki) as ota:
        before = await digests(ota)
        for what, (sent, reason) in REFUSED.items():
            got = await refusal(ota.UploadImage(iter(sent), timeout=30))
            assert got == (grpc.StatusCode.INVALID_ARGUMENT, reason), what
        assert await digests(ota) == before
        data = image_bytes(10)
        await ota.UploadImage(messages(data), timeout=30)  # and the download continues
        await ota.DeleteImage(pb.DeleteImageRequest(sha256=hashlib.sha256(data).hexdigest()))


async def test_refused_upload_returns_reason_during_sending(start_ota: StartOta, pki: Pki) -> None:
    data = image_bytes(8 * MIB)
    sent = [header(data, size=10), *list(messages(data))[1:]]
    async with stub(start_ota(), pki) as ota:
        for _ in range(10):
            got = await refusal(ota.UploadImage(iter(sent), timeout=30))
            assert got == (grpc.StatusCode.INVALID_ARGUMENT, "SIZE_MISMATCH")


async def test_ranges_outside_the_image_are_refused(start_ota: StartOta, pki: Pki) -> None:
    data = image_bytes(1000)
    digest = hashlib.sha256(data).hexdigest()
    async with stub(start_ota(), pki) as ota:
        await ota.UploadImage(messages(data), timeout=30)
        for offset, length in ((1000, 0), (1000, 1), (0, 1001), (999, 2), (2**63, 1), (0, 2**64 - 1)):
            got = await refusal(download(ota, digest, offset_bytes=offset, length_bytes=length))
            assert got == (grpc.StatusCode.OUT_OF_RANGE, "RANGE_OUTSIDE_IMAGE"), (offset, length)
        assert await download(ota, digest, offset_bytes=999) == data[999:]


async def test_an_uploader_that_vanishes_midway_leaves_nothing(start_ota: StartOta, pki: Pki) -> None:
    process = start_ota()
    data, half = image_bytes(10 * MIB), asyncio.Event()

    def parts() -> list[Path]:
        return list((Path(process.environment["YGG_OTA_DATA_DIR"]) / "cache").glob(".*.part"))

    async def half_of_it() -> AsyncIterator[pb.UploadImageRequest]:
        for number, message in enumerate(messages(data)):
            if number > 9:
                half.set()
                await asyncio.get_running_loop().create_future()
            yield message

    async with stub(process, pki) as vanishing:
        call = vanishing.UploadImage(half_of_it())
        await half.wait()
        await eventually(parts, what="the upload to have begun")
        call.cancel()
    async with stub(process, pki) as ota:
        await eventually(lambda: not parts(), what="the upload to be undone")
        assert hashlib.sha256(data).hexdigest() not in await digests(ota)
        await ota.UploadImage(messages(data), timeout=60)  # the same image can be uploaded at once
        await ota.DeleteImage(pb.DeleteImageRequest(sha256=hashlib.sha256(data).hexdigest()))


async def test_same_image_is_uploaded_concurrently(start_ota: StartOta, pki: Pki) -> None:
    data = image_bytes(5 * MIB, seed=3)
    async with stub(start_ota(), pki) as ota:
        answers = await asyncio.gather(*(ota.UploadImage(messages(data), timeout=60) for _ in range(6)))
        assert {answer.image.sha256 for answer in answers} == {hashlib.sha256(data).hexdigest()}
        assert await download(ota, answers[0].image.sha256) == data
        await ota.DeleteImage(pb.DeleteImageRequest(sha256=answers[0].image.sha256))


async def test_pages_meet(start_ota: StartOta, pki: Pki) -> None:
    async with stub(start_ota(), pki) as ota:
        stored = set()
        for seed in range(5):
            stored.add((await ota.UploadImage(messages(image_bytes(20, seed)), timeout=30)).image.sha256)
        seen, token = [], ""
        while True:
            page = await ota.ListImages(pb.ListImagesRequest(page_size=2, page_token=token))
            assert len(page.images) <= 2
            seen += [image.sha256 for image in page.images]
            if not (token := page.next_page_token):
                break
        assert seen == sorted(seen)
        assert stored <= set(seen)
        for bad in ({"page_size": -1}, {"page_size": 1001}, {"page_token": "x"}):
            got = await refusal(ota.ListImages(pb.ListImagesRequest(**bad)))
            assert got == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"), bad


def resident_bytes(pid: int, field: str = "VmHWM") -> int:
    """Return the peak (VmHWM) or the current (VmRSS) resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


def reset_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


async def test_memory_is_flat_however_large_the_images(start_ota: StartOta, pki: Pki) -> None:
    process = start_ota()
    async with stub(process, pki) as ota:
        await ota.UploadImage(messages(image_bytes(MIB)), timeout=30)  # warm-up: late imports
        await download(ota, hashlib.sha256(image_bytes(MIB)).hexdigest())
        reset_peak(process.pid)
        before = resident_bytes(process.pid)
        images = [image_bytes(64 * MIB, seed) for seed in range(3)]
        answers = await asyncio.gather(*(ota.UploadImage(messages(data), timeout=100) for data in images))
        slow = [ota.DownloadImage(pb.DownloadImageRequest(sha256=answer.image.sha256)) for answer in answers * 3]
        for call in slow:  # nine readers that stall after one chunk
            await call.read()
        assert await download(ota, answers[0].image.sha256) == images[0]
        grown = resident_bytes(process.pid) - before
        for call in slow:
            call.cancel()
        for answer in answers:
            await ota.DeleteImage(pb.DeleteImageRequest(sha256=answer.image.sha256))
    assert grown < 120 * MIB, f"{grown / MIB:.0f} MiB more for 192 MiB uploaded and 640 MiB asked for"


async def test_readers_that_leave_midway_leave_no_open_file(start_ota: StartOta, pki: Pki) -> None:
    process = start_ota()
    data = image_bytes(8 * MIB)
    digest = hashlib.sha256(data).hexdigest()

    def open_images() -> int:
        links = Path(f"/proc/{process.pid}/fd").iterdir()
        return sum(link.is_symlink() and digest in str(link.readlink()) for link in links)

    async with stub(process, pki) as ota:
        await ota.UploadImage(messages(data), timeout=30)
        calls = [ota.DownloadImage(pb.DownloadImageRequest(sha256=digest)) for _ in range(4)]
        for call in calls:
            await call.read()
        assert open_images() == 4
        for call in calls:
            call.cancel()
        await eventually(lambda: open_images() == 0, what="the files to be closed")
        await ota.DeleteImage(pb.DeleteImageRequest(sha256=digest))


async def test_a_device_may_not_use_the_port(start_ota: StartOta, pki: Pki) -> None:
    ota = start_ota()
    async with channel.connect(ota.listen, pki.files("device", "porch-1"), "ota") as connected:
        refused = await refusal(ota_pb2_grpc.OtaServiceStub(connected).ListImages(pb.ListImagesRequest(), timeout=5))
    assert refused[0] is grpc.StatusCode.UNAVAILABLE  # fails in the handshake
