"""Contract of the port ObjectStore, for every adapter with its real server."""

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
async def test_read_returns_stored_bytes(store: ObjectStore, size: int) -> None:
    data = image_bytes(size)
    image = await put(store, data)
    assert (image.sha256, image.size_bytes) == (hashlib.sha256(data).hexdigest(), size)
    assert abs(image.create_time - datetime.now(UTC)) < timedelta(minutes=1)
    assert await store.stat(image.sha256) == image
    assert await read(store, image) == data


async def test_read_returns_exact_range(store: ObjectStore) -> None:
    data = image_bytes(BIG)
    image = await put(store, data)
    ranges = [(0, 1), (1, 131_071), (131_072, 131_072), (131_071, 2), (BIG - 1, 1), (9_000_000, 700_001), (0, BIG)]
    for offset, length in ranges:
        assert await read(store, image, offset, length) == data[offset : offset + length], (offset, length)


async def test_read_blocks_are_bounded(store: ObjectStore) -> None:
    image = await put(store, image_bytes(BIG))
    assert max([len(block) async for block in store.get_range(image, 0, BIG)]) <= 1024 * 1024


async def test_write_joins_tiny_chunks(place: Place) -> None:
    data = image_bytes(3000)
    assert await read(place.store, await put(place.store, data, chunk=1)) == data
    assert await place.leftovers() == 0


async def test_unknown_image_is_absent(store: ObjectStore) -> None:
    absent = Image(hashlib.sha256(b"absent").hexdigest(), 10, datetime.now(UTC))
    assert await store.stat(absent.sha256) is None
    assert await store.delete(absent.sha256) is False
    with pytest.raises(ImageNotFoundError):
        await read(store, absent)


@pytest.mark.parametrize("size", [1000, 5 * 1024 * 1024, BIG])  # 5 MiB is exactly one part in S3
async def test_upload_with_wrong_digest_leaves_nothing(place: Place, size: int) -> None:
    data, other = image_bytes(size), image_bytes(size, seed=1)
    with pytest.raises(DigestMismatchError):
        await place.store.put_stream(header_of(data), chunked(other))
    await assert_nothing_of(place, header_of(data).sha256)
    await assert_nothing_of(place, header_of(other).sha256)


@pytest.mark.parametrize("size", [1000, BIG])
@pytest.mark.parametrize("missing", [1, 999])
async def test_short_upload_leaves_nothing(place: Place, size: int, missing: int) -> None:
    data = image_bytes(size)
    with pytest.raises(SizeMismatchError):
        await place.store.put_stream(header_of(data), chunked(data[:-missing]))
    await assert_nothing_of(place, header_of(data).sha256)


@pytest.mark.parametrize("size", [1000, BIG])
async def test_long_upload_leaves_nothing(place: Place, size: int) -> None:
    data = image_bytes(size)
    with pytest.raises(SizeMismatchError):
        await place.store.put_stream(header_of(data), chunked(data + b"x"))
    await assert_nothing_of(place, header_of(data).sha256)


async def test_empty_upload_is_rejected(place: Place) -> None:
    with pytest.raises(SizeMismatchError):
        await place.store.put_stream(header_of(b"x"), chunked(b""))
    await assert_nothing_of(place, header_of(b"x").sha256)


async def test_failed_upload_leaves_nothing(place: Place) -> None:
    data = image_bytes(BIG)

    async def breaking() -> AsyncIterator[bytes]:
        async for chunk in chunked(data[: BIG // 2]):
            yield chunk
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await place.store.put_stream(header_of(data), breaking())
    await assert_nothing_of(place, header_of(data).sha256)


async def test_cancelled_upload_leaves_nothing(place: Place) -> None:
    data, midway = image_bytes(BIG), asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        async for chunk in chunked(data[: BIG // 2]):
            yield chunk
        midway.set()
        await asyncio.get_running_loop().create_future()

    upload = asyncio.create_task(place.store.put_stream(header_of(data), stalling()))
    await midway.wait()
    assert await place.leftovers() == 1  # the upload had begun, so the checks below are meaningful
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    await assert_nothing_of(place, header_of(data).sha256)


async def test_image_is_invisible_until_complete(place: Place) -> None:
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


async def test_write_of_stored_image_reads_no_bytes(store: ObjectStore) -> None:
    data = image_bytes(5000)
    first = await put(store, data)

    async def unread() -> AsyncIterator[bytes]:
        pytest.fail("the upload was read")
        yield b""

    assert await store.put_stream(header_of(data), unread()) == first


async def test_concurrent_uploads_of_one_image_succeed(place: Place) -> None:
    data, both = image_bytes(BIG), asyncio.Barrier(2)

    async def together() -> AsyncIterator[bytes]:
        async for chunk in chunked(data[:-1]):
            yield chunk
        await both.wait()
        yield data[-1:]

    second = await place.reopen()
    stores = (place.store, second)
    images = await asyncio.gather(*(store.put_stream(header_of(data), together()) for store in stores))
    assert {image.sha256 for image in images} == {header_of(data).sha256}
    for store in stores:
        assert await read(store, images[0]) == data
    assert await place.leftovers() == 0


async def test_deleted_image_can_be_uploaded_again(place: Place) -> None:
    data = image_bytes(BIG)
    image = await put(place.store, data)
    assert await place.store.delete(image.sha256) is True
    await assert_nothing_of(place, image.sha256)
    with pytest.raises(ImageNotFoundError):
        await read(place.store, image)
    assert await place.store.delete(image.sha256) is False
    assert await read(place.store, await put(place.store, data)) == data


async def test_list_is_ordered_and_pages_are_contiguous(store: ObjectStore) -> None:
    stored = [await put(store, image_bytes(10, seed)) for seed in range(7)]
    expected = sorted(stored, key=lambda image: image.sha256)
    assert await store.list("", 100) == expected
    seen: list[Image] = []
    while page := await store.list(seen[-1].sha256 if seen else "", 3):
        assert len(page) <= 3
        seen.extend(page)
    assert seen == expected


async def test_replicas_see_the_same_images(place: Place) -> None:
    data = image_bytes(BIG)
    image = await put(place.store, data)
    other = await place.reopen()
    assert await other.stat(image.sha256) == image
    assert await other.list("", 10) == [image]
    assert await read(other, image, 100, 1000) == data[100:1100]


async def test_concurrent_readers_get_equal_bytes(place: Place) -> None:
    data = image_bytes(BIG)
    image = await put(place.store, data)
    cold = await place.reopen()
    found = await asyncio.gather(*(read(cold, image, offset, 200_000) for offset in range(0, 8_000_000, 1_000_000)))
    assert found == [data[offset : offset + 200_000] for offset in range(0, 8_000_000, 1_000_000)]


async def test_abandoned_read_affects_no_other(store: ObjectStore) -> None:
    data = image_bytes(BIG)
    image = await put(store, data)
    reading = store.get_range(image, 0, BIG)
    assert data.startswith(await anext(reading))
    await reading.aclose()
    assert await read(store, image) == data


async def test_sweep_deletes_leftovers_at_second_pass(place: Place) -> None:
    data, begun = image_bytes(BIG), asyncio.Event()
    await put(place.store, image_bytes(10))

    async def orphaned() -> AsyncIterator[bytes]:
        async for chunk in chunked(data[: BIG // 2]):
            yield chunk
        begun.set()
        await asyncio.get_running_loop().create_future()

    upload = asyncio.create_task(place.store.put_stream(header_of(data), orphaned()))
    await begun.wait()
    other = await place.reopen()
    assert await other.sweep() == 0
    assert await place.leftovers() == 1
    assert await other.sweep() == 1
    assert await place.leftovers() == 0
    assert len(await other.list("", 10)) == 1
    upload.cancel()
    await asyncio.gather(upload, return_exceptions=True)


async def test_write_rejects_header_with_wrong_size(place: Place) -> None:
    data = image_bytes(5000)
    for size in (4999, 5001):
        with pytest.raises(SizeMismatchError):
            await place.store.put_stream(Header(header_of(data).sha256, size), chunked(data))
    await assert_nothing_of(place, header_of(data).sha256)
