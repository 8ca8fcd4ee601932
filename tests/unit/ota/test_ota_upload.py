"""The order and the pace of an upload's messages, and how many are written at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.domain.errors import Code
from services.ota.api import Upload
from services.ota.errors import ImageNotFoundError, InvalidUploadError, UploadStalledError
from services.ota.service import Images, sweep_forever
from tests.fakes.objects import MemoryObjects
from tests.fixtures.images import chunked, header_of, image_bytes
from tests.fixtures.wait import eventually
from yggdrasil.ota.v1 import ota_pb2 as pb

HEADER = pb.UploadImageRequest(header=pb.ImageHeader(size_bytes=3, sha256="a" * 64))


async def sent(*messages: pb.UploadImageRequest, then_stall: bool = False) -> AsyncIterator[pb.UploadImageRequest]:
    for message in messages:
        yield message
    if then_stall:
        await asyncio.get_running_loop().create_future()


async def test_a_header_then_chunks() -> None:
    upload = Upload(sent(HEADER, pb.UploadImageRequest(chunk=b"ab"), pb.UploadImageRequest(chunk=b"c")))
    assert await upload.header() == HEADER.header
    assert [chunk async for chunk in upload.chunks()] == [b"ab", b"c"]


@pytest.mark.parametrize("first", [[], [pb.UploadImageRequest(chunk=b"x")], [pb.UploadImageRequest()]])
async def test_an_upload_without_header_is_refused(first: list[pb.UploadImageRequest]) -> None:
    with pytest.raises(InvalidUploadError):
        await Upload(sent(*first)).header()


@pytest.mark.parametrize("second", [HEADER, pb.UploadImageRequest(), pb.UploadImageRequest(chunk=b"")])
async def test_after_the_header_only_chunks(second: pb.UploadImageRequest) -> None:
    upload = Upload(sent(HEADER, second))
    await upload.header()
    with pytest.raises(InvalidUploadError):
        await anext(upload.chunks())


async def test_stalled_upload_is_aborted() -> None:
    with pytest.raises(UploadStalledError) as e:
        await Upload(sent(then_stall=True), idle_s=0.01).header()
    assert e.value.code is Code.DEADLINE_EXCEEDED
    upload = Upload(sent(HEADER, then_stall=True), idle_s=0.01)
    await upload.header()
    with pytest.raises(UploadStalledError):
        await anext(upload.chunks())


async def test_uploads_wait_for_their_slot() -> None:
    store, go = MemoryObjects(), asyncio.Event()
    images = Images(store, uploads_at_once=2)

    async def held(data: bytes) -> AsyncIterator[bytes]:
        await go.wait()
        yield data

    bodies = [image_bytes(10, seed) for seed in range(5)]
    uploads = [asyncio.create_task(images.upload(header_of(body), held(body))) for body in bodies]
    await eventually(lambda: len(store.unfinished) == 2)
    go.set()
    assert {image.sha256 for image in await asyncio.gather(*uploads)} == {header_of(body).sha256 for body in bodies}


async def test_failed_upload_releases_its_slot() -> None:
    images = Images(MemoryObjects(), uploads_at_once=1)

    async def broken() -> AsyncIterator[bytes]:
        raise ConnectionResetError
        yield b""

    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            await images.upload(header_of(b"abc"), broken())
    assert (await images.upload(header_of(b"abc"), chunked(b"abc"))).size_bytes == 3


async def test_deleting_a_missing_image_is_reported() -> None:
    with pytest.raises(ImageNotFoundError):
        await Images(MemoryObjects(), 1).delete("a" * 64)


async def test_sweeping_continues_after_a_failure() -> None:
    looks: list[int] = []

    class Failing(MemoryObjects):
        async def sweep(self) -> int:
            looks.append(1)
            if len(looks) == 1:
                raise ImageNotFoundError("a" * 64)
            return 0

    sweeper = asyncio.create_task(sweep_forever(Failing(), interval_s=0))
    await eventually(lambda: len(looks) > 2)
    sweeper.cancel()
    await asyncio.gather(sweeper, return_exceptions=True)
