"""The disk cache: bounded, atomic, verified, private; and the store that has it in front."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ota.adapters.cached import CachedObjects
from services.ota.adapters.disk_cache import DiskCache
from services.ota.errors import CacheFullError, CorruptImageError, ImageNotFoundError
from services.ota.model import Header, Image
from tests.fakes.objects import MemoryObjects
from tests.fixtures.images import chunked, header_of, image_bytes


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def on_disk(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


async def keep(cache: DiskCache, data: bytes) -> str:
    async with cache.filling(header_of(data)) as filling:
        await filling.write(data)
        await cache.commit(filling)
    return header_of(data).sha256


async def held(cache: DiskCache, data: bytes) -> bool:
    fd = await cache.reader(header_of(data))
    if fd is None:
        return False
    assert os.pread(fd, len(data) + 1, 0) == data
    os.close(fd)
    return True


async def read(store: CachedObjects, image: Image, offset: int = 0, length: int = 0) -> bytes:
    return b"".join([b async for b in store.get_range(image, offset, length or image.size_bytes - offset)])


async def test_files_are_for_the_owner_only(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path / "cache", 1000)
    digest = await keep(cache, b"firmware")
    assert stat.S_IMODE((tmp_path / "cache" / digest).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


async def test_the_least_recently_read_image_goes_first(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path, 300)
    first, second, third, fourth = (image_bytes(100, seed) for seed in range(4))
    for data in (first, second, third):
        await keep(cache, data)
    assert await held(cache, first)  # so `second` is now the one that was not read for longest
    await keep(cache, fourth)
    assert [await held(cache, data) for data in (first, second, third, fourth)] == [True, False, True, True]
    assert cache.used_bytes == 300 == on_disk(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 200), max_size=12), aborted=st.sets(st.integers(0, 11)))
async def test_the_bound_holds_whatever_comes(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], aborted: set[int]
) -> None:
    directory = tmp_path_factory.mktemp("cache")
    cache = DiskCache.open(directory, 250)
    for seed, size in enumerate(sizes):
        data = image_bytes(size, seed)
        async with cache.filling(header_of(data)) as filling:
            await filling.write(data)
            assert cache.used_bytes <= 250
            assert on_disk(directory) <= 250
            if seed not in aborted:
                await cache.commit(filling)
    assert cache.used_bytes == on_disk(directory)
    assert cache.used_bytes <= 250


async def test_two_being_written_cannot_exceed_the_bound_together(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path, 150)
    async with cache.filling(Header("a" * 64, 100)):
        with pytest.raises(CacheFullError):
            async with cache.filling(Header("b" * 64, 100)):
                pytest.fail("both fit")
    async with cache.filling(Header("b" * 64, 100)):
        assert cache.used_bytes == 100


async def test_an_image_is_not_there_before_it_is_whole(tmp_path: Path) -> None:
    cache, data = DiskCache.open(tmp_path, 1000), image_bytes(100)
    async with cache.filling(header_of(data)) as filling:
        await filling.write(data[:50])
        assert not await held(cache, data)
        assert all(name.endswith(".part") for name in files(tmp_path))
        with pytest.raises(CorruptImageError):
            await cache.commit(filling)
    assert files(tmp_path) == set()
    assert cache.used_bytes == 0


async def test_other_bytes_never_enter(tmp_path: Path) -> None:
    cache, data = DiskCache.open(tmp_path, 1000), image_bytes(100)
    with pytest.raises(CorruptImageError):
        async with cache.filling(header_of(data)) as filling:
            await filling.write(image_bytes(100, seed=1))
            await cache.commit(filling)
    with pytest.raises(CorruptImageError):
        async with cache.filling(header_of(data)) as filling:
            await filling.write(data + b"x")
    assert files(tmp_path) == set()


async def test_killed_process_leaves_no_valid_entry(tmp_path: Path) -> None:
    (tmp_path / ".abc.part").write_bytes(bytes(50))
    cache = DiskCache.open(tmp_path, 100)
    assert files(tmp_path) == set()
    assert cache.used_bytes == 0


async def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README").write_bytes(bytes(500))
    cache = DiskCache.open(tmp_path, 100)
    assert cache.used_bytes == 0
    await keep(cache, image_bytes(100))
    assert "README" in files(tmp_path)


async def test_cache_of_earlier_process_is_used_within_bound(tmp_path: Path) -> None:
    before = DiskCache.open(tmp_path, 1000)
    old, new = image_bytes(100, 1), image_bytes(100, 2)
    for age, data in ((100, old), (50, new)):
        digest = await keep(before, data)
        os.utime(tmp_path / digest, (0, 1_000_000 - age))
    after = DiskCache.open(tmp_path, 150)
    assert [await held(after, data) for data in (old, new)] == [False, True]


@pytest.mark.parametrize("damage", [b"", b"x" * 99, b"x" * 100])
async def test_an_image_damaged_on_disk_is_dropped(tmp_path: Path, damage: bytes) -> None:
    data = image_bytes(100)
    digest = await keep(DiskCache.open(tmp_path, 1000), data)
    (tmp_path / digest).write_bytes(damage)
    cache = DiskCache.open(tmp_path, 1000)
    assert not await held(cache, data)
    assert files(tmp_path) == set()
    assert cache.used_bytes == 0


async def test_a_file_that_vanished_is_absent(tmp_path: Path) -> None:
    cache, data = DiskCache.open(tmp_path, 1000), image_bytes(100)
    (tmp_path / await keep(cache, data)).unlink()
    assert not await held(cache, data)
    assert cache.used_bytes == 0


async def test_a_reader_outlives_the_eviction_of_its_image(tmp_path: Path) -> None:
    origin = MemoryObjects()
    store = CachedObjects(origin, DiskCache.open(tmp_path, 1_000_000))
    data = image_bytes(900_000)
    image = await store.put_stream(header_of(data), chunked(data))
    reading = store.get_range(image, 0, len(data))
    got = await anext(reading)
    other = image_bytes(900_000, seed=1)
    await store.put_stream(header_of(other), chunked(other))
    assert header_of(data).sha256 not in files(tmp_path)
    assert got + b"".join([block async for block in reading]) == data


async def test_an_upload_fills_the_cache(tmp_path: Path) -> None:
    origin, data = MemoryObjects(), image_bytes(5000)
    store = CachedObjects(origin, DiskCache.open(tmp_path, 10_000))
    image = await store.put_stream(header_of(data), chunked(data))
    assert await read(store, image, 100) == data[100:]
    assert origin.reads == 0


async def test_upload_succeeds_when_cache_has_no_room(tmp_path: Path) -> None:
    origin, data = MemoryObjects(), image_bytes(5000)
    store = CachedObjects(origin, DiskCache.open(tmp_path, 4999))
    image = await store.put_stream(header_of(data), chunked(data))
    assert await origin.stat(image.sha256) == image
    with pytest.raises(CacheFullError):
        await read(store, image)


async def test_upload_succeeds_when_cache_disk_fails(tmp_path: Path) -> None:
    origin, data = MemoryObjects(), image_bytes(5000)
    cache = DiskCache.open(tmp_path / "cache", 10_000)
    (tmp_path / "cache").rmdir()
    store = CachedObjects(origin, cache)
    image = await store.put_stream(header_of(data), chunked(data))
    with pytest.raises(CacheFullError):
        await read(store, image)
    (tmp_path / "cache").mkdir()
    assert await read(store, image) == data


async def test_many_readers_fetch_an_image_once(tmp_path: Path) -> None:
    origin, data = MemoryObjects(), image_bytes(500_000)
    image = await origin.put_stream(header_of(data), chunked(data))
    store = CachedObjects(origin, DiskCache.open(tmp_path, 1_000_000))
    assert await asyncio.gather(*(read(store, image, offset) for offset in range(10))) == [data[n:] for n in range(10)]
    assert origin.reads == 1


async def test_cancelled_filling_reader_does_not_stop_others(tmp_path: Path) -> None:
    filling = asyncio.Event()

    class Slow(MemoryObjects):
        async def get_range(self, image: Image, offset: int, length: int) -> AsyncGenerator[bytes, None]:
            async for block in super().get_range(image, offset, length):
                yield block
                if self.reads == 1:
                    filling.set()
                    await asyncio.get_running_loop().create_future()

    origin, data = Slow(), image_bytes(300_000)
    image = await origin.put_stream(header_of(data), chunked(data))
    store = CachedObjects(origin, DiskCache.open(tmp_path, 1_000_000))
    first = asyncio.create_task(read(store, image))
    await filling.wait()
    second = asyncio.create_task(read(store, image))
    first.cancel()
    assert await second == data
    assert origin.reads == 2
    assert files(tmp_path) == {image.sha256}


async def test_a_store_that_returns_other_bytes_is_found_out(tmp_path: Path) -> None:
    origin, data = MemoryObjects(), image_bytes(5000)
    image = await origin.put_stream(header_of(data), chunked(data))
    origin.images[image.sha256] = (image, image_bytes(5000, seed=1))
    store = CachedObjects(origin, DiskCache.open(tmp_path, 10_000))
    with pytest.raises(CorruptImageError):
        await read(store, image)
    assert files(tmp_path) == set()


async def test_image_deleted_elsewhere_is_not_served_when_cold(tmp_path: Path) -> None:
    gone = Image(hashlib.sha256(b"gone").hexdigest(), 4, datetime.now(UTC))
    with pytest.raises(ImageNotFoundError):
        await read(CachedObjects(MemoryObjects(), DiskCache.open(tmp_path, 100)), gone)


async def test_deleting_drops_the_cached_file(tmp_path: Path) -> None:
    data = image_bytes(100)
    store = CachedObjects(MemoryObjects(), DiskCache.open(tmp_path, 1000))
    image = await store.put_stream(header_of(data), chunked(data))
    assert files(tmp_path) == {image.sha256}
    assert await store.delete(image.sha256)
    assert files(tmp_path) == set()
