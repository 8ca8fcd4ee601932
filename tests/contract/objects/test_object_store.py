"""The contract of the port ObjectStore, held by every adapter against the real server."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from services.ota.errors import DigestMismatchError, ImageNotFoundError, SizeMismatchError
from services.ota.model import Header, Image
from services.ota.ports import ObjectStore
from tests.contract.objects.conftest import Place
from tests.fixtures.images import chunked, header_of, image_bytes

BIG = 16 * 1024 * 1024 + 12345  # three parts in S3, more than a hundred messages in NATS
SIZES = [1, 64 * 1024, 128 * 1024 + 1, BIG]


async def put(store: ObjectStore, data: bytes, chunk: int = 1024 * 1024) -> Image:
    return await store.put_stream(header_of(data), chunked(data, chunk))


async def read(store: ObjectStore, image: Image, offset: int = 0, length: int | None = None) -> bytes:
    count = image.size_bytes - offset if length is None else length
    return b"".join([block async for block in store.get_range(image, offset, count)])


async def assert_nothing_of(place: Place, sha256: str) -> None:
    assert await place.store.stat(sha256) is None
    assert sha256 not in {image.sha256 for image in await place.store.list("", 1000)}
    assert await place.leftovers() == 0


@pytest.mark.parametrize("size", SIZES)
async def test_what_was_stored_comes_back(store: ObjectStore, size: int) -> None:
    data = image_bytes(size)
    image = await put(store, data)
    assert (image.sha256, image.size_bytes) == (hashlib.sha256(data).hexdigest(), size)
    assert abs(image.create_time - datetime.now(UTC)) < timedelta(minutes=1)
    assert await store.stat(image.sha256) == image
    assert await read(store, image) == data


async def test_any_range_comes_back_exactly(store: ObjectStore) -> None:
    data = image_bytes(BIG)
    image = await put(store, data)
    ranges = [(0, 1), (1, 131_071), (131_072, 131_072), (131_071, 2), (BIG - 1, 1), (9_000_000, 700_001), (0, BIG)]
    for offset, length in ranges:
        assert await read(store, image, offset, length) == data[offset : offset + length], (offset, length)


async def test_blocks_are_bounded(store: ObjectStore) -> None:
    image = await put(store, image_bytes(BIG))
    assert max([len(block) async for block in store.get_range(image, 0, BIG)]) <= 1024 * 1024


async def test_tiny_chunks_are_joined(place: Place) -> None:
    data = image_bytes(3000)
    assert await read(place.store, await put(place.store, data, chunk=1)) == data
    assert await place.leftovers() == 0


async def test_an_unknown_image_is_absent(store: ObjectStore) -> None:
    absent = Image(hashlib.sha256(b"absent").hexdigest(), 10, datetime.now(UTC))
    assert await store.stat(absent.sha256) is None
    assert await store.delete(absent.sha256) is False
    with pytest.raises(ImageNotFoundError):
        await read(store, absent)


@pytest.mark.parametrize("size", [1000, 5 * 1024 * 1024, BIG])  # 5 MiB is exactly one part in S3
async def test_wrong_digest_is_refused_and_leaves_nothing(place: Place, size: int) -> None:
    data, other = image_bytes(size), image_bytes(size, seed=1)
    with pytest.raises(DigestMismatchError):
        await place.store.put_stream(header_of(data), chunked(other))
    await assert_nothing_of(place, header_of(data).sha256)
    await assert_nothing_of(place, header_of(other).sha256)


@pytest.mark.parametrize("size", [1000, BIG])
@pytest.mark.parametrize("missing", [1, 999])
async def test_an_upload_that_ends_early_is_refused_and_leaves_nothing(place: Place, size: int, missing: int) -> None:
    data = image_bytes(size)
    with pytest.raises(SizeMismatchError):
        await place.store.put_stream(header_of(data), chunked(data[:-missing]))
    await assert_nothing_of(place, header_of(data).sha256)


@pytest.mark.parametrize("size", [1000, BIG])
async def test_bytes_too_many_are_refused_and_leave_nothing(place: Place, size: int) -> None:
    data = image_bytes(size)
    with pytest.raises(SizeMismatchError):
        await place.store.put_stream(header_of(data), chunked(data + b"x"))
    await assert_nothing_of(place, header_of(data).sha256)


async def test_an_upload_without_bytes_is_refused(place: Place) -> None:
    with pytest.raises(SizeMismatchError):
        await place.store.put_stream(header_of(b"x"), chunked(b""))
    await assert_nothing_of(place, header_of(b"x").sha256)


async def test_an_uploader_that_fails_midway_leaves_nothing(place: Place) -> None:
    data = image_bytes(BIG)

    async def breaking() -> AsyncIterator[bytes]:
        async for chunk in chunked(data[: BIG // 2]):
            yield chunk
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await place.store.put_stream(header_of(data), breaking())
    await assert_nothing_of(place, header_of(data).sha256)


async def test_a_cancelled_upload_leaves_nothing(place: Place) -> None:
    data, midway = image_bytes(BIG), asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        async for chunk in chunked(data[: BIG // 2]):
            yield chunk
        midway.set()
        await asyncio.get_running_loop().create_future()

    upload = asyncio.create_task(place.store.put_stream(header_of(data), stalling()))
    await midway.wait()
    assert await place.leftovers() == 1  # it had begun: what follows is not true for want of trying
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    await assert_nothing_of(place, header_of(data).sha256)


async def test_nothing_is_visible_before_the_last_byte(place: Place) -> None:
    data, at_the_end, go = image_bytes(BIG), asyncio.Event(), asyncio.Event()

    async def pausing() -> AsyncIterator[bytes]:
        async for chunk in chunked(data[:-1]):
            yield chunk
        at_the_end.set()
        await go.wait()
        yield data[-1:]

    upload = asyncio.create_task(place.store.put_stream(header_of(data), pausing()))
    await at_the_end.wait()
    assert await place.store.stat(header_of(data).sha256) is None
    assert await place.store.list("", 10) == []
    with pytest.raises(ImageNotFoundError):
        await read(place.store, Image(header_of(data).sha256, len(data), datetime.now(UTC)))
    go.set()
    assert await read(place.store, await upload) == data


async def test_an_image_that_is_there_is_answered_without_reading_the_upload(store: ObjectStore) -> None:
    data = image_bytes(5000)
    first = await put(store, data)

    async def unread() -> AsyncIterator[bytes]:
        pytest.fail("the upload was read")
        yield b""

    assert await store.put_stream(header_of(data), unread()) == first


async def test_two_uploads_of_the_same_image_at_once_both_succeed(place: Place) -> None:
    data, both = image_bytes(BIG), asyncio.Barrier(2)

    async def together() -> AsyncIterator[bytes]:
        async for chunk in chunked(data[:-1]):
            yield chunk
        await both.wait()
        yield data[-1:]

    second = await place.again()
    stores = (place.store, second)
    images = await asyncio.gather(*(store.put_stream(header_of(data), together()) for store in stores))
    assert {image.sha256 for image in images} == {header_of(data).sha256}
    for store in stores:
        assert await read(store, images[0]) == data
    assert await place.leftovers() == 0


async def test_deleting_removes_and_uploading_again_restores(place: Place) -> None:
    data = image_bytes(BIG)
    image = await put(place.store, data)
    assert await place.store.delete(image.sha256) is True
    await assert_nothing_of(place, image.sha256)
    with pytest.raises(ImageNotFoundError):
        await read(place.store, image)
    assert await place.store.delete(image.sha256) is False
    assert await read(place.store, await put(place.store, data)) == data


async def test_listing_is_by_digest_and_pages_meet(store: ObjectStore) -> None:
    stored = [await put(store, image_bytes(10, seed)) for seed in range(7)]
    wanted = sorted(stored, key=lambda image: image.sha256)
    assert await store.list("", 100) == wanted
    seen: list[Image] = []
    while page := await store.list(seen[-1].sha256 if seen else "", 3):
        assert len(page) <= 3
        seen.extend(page)
    assert seen == wanted


async def test_another_replica_sees_the_same_images(place: Place) -> None:
    data = image_bytes(BIG)
    image = await put(place.store, data)
    other = await place.again()
    assert await other.stat(image.sha256) == image
    assert await other.list("", 10) == [image]
    assert await read(other, image, 100, 1000) == data[100:1100]


async def test_many_readers_at_once_read_the_same(place: Place) -> None:
    data = image_bytes(BIG)
    image = await put(place.store, data)
    cold = await place.again()
    found = await asyncio.gather(*(read(cold, image, offset, 200_000) for offset in range(0, 8_000_000, 1_000_000)))
    assert found == [data[offset : offset + 200_000] for offset in range(0, 8_000_000, 1_000_000)]


async def test_a_reader_that_stops_early_harms_nobody(store: ObjectStore) -> None:
    data = image_bytes(BIG)
    image = await put(store, data)
    reading = store.get_range(image, 0, BIG)
    assert data.startswith(await anext(reading))
    await reading.aclose()
    assert await read(store, image) == data


async def test_what_a_killed_process_left_is_swept_at_the_second_look_and_no_sooner(place: Place) -> None:
    data, begun = image_bytes(BIG), asyncio.Event()
    await put(place.store, image_bytes(10))

    async def orphaned() -> AsyncIterator[bytes]:
        async for chunk in chunked(data[: BIG // 2]):
            yield chunk
        begun.set()
        await asyncio.get_running_loop().create_future()

    upload = asyncio.create_task(place.store.put_stream(header_of(data), orphaned()))
    await begun.wait()
    other = await place.again()
    assert await other.sweep() == 0
    assert await place.leftovers() == 1
    assert await other.sweep() == 1
    assert await place.leftovers() == 0
    assert len(await other.list("", 10)) == 1
    upload.cancel()
    await asyncio.gather(upload, return_exceptions=True)


async def test_a_header_that_lies_about_the_size_is_refused(place: Place) -> None:
    data = image_bytes(5000)
    for size in (4999, 5001):
        with pytest.raises(SizeMismatchError):
            await place.store.put_stream(Header(header_of(data).sha256, size), chunked(data))
    await assert_nothing_of(place, header_of(data).sha256)
