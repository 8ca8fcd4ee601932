"""An object store behind a disk cache: every byte read has passed the check of its digest.

Uploads fill the cache on their way. A download fills it completely, once for all concurrent readers, and then reads
ranges from the disk; the set of stored images always comes from the origin.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from services.chassis.threads import in_thread
from services.ota.adapters.disk_cache import DiskCache, Filling
from services.ota.errors import CacheFullError, CorruptImageError
from services.ota.model import Header, Image
from services.ota.ports import ObjectStore

READ_BYTES = 256 * 1024
_log = logging.getLogger(__name__)


class CachedObjects:
    """The port ObjectStore over an origin and a cache."""

    def __init__(self, origin: ObjectStore, cache: DiskCache) -> None:
        self._origin = origin
        self._cache = cache
        self._fills: dict[str, tuple[asyncio.Lock, int]] = {}

    async def put_stream(self, header: Header, chunks: AsyncIterator[bytes]) -> Image:
        """See the port. An upload that does not fit the cache is stored nevertheless."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                filling = await stack.enter_async_context(self._cache.filling(header))
            except CacheFullError as e:
                _log.info("upload not cached", extra={"why": e.message})
                return await self._origin.put_stream(header, chunks)
            tee = await stack.enter_async_context(contextlib.aclosing(_tee(chunks, filling)))
            image = await self._origin.put_stream(header, tee)
            with contextlib.suppress(CacheFullError):  # it is stored; the cache can be filled later
                if filling.whole:
                    await self._cache.commit(filling)
            return image

    async def get_range(self, image: Image, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """See the port. Also raises CorruptImageError and CacheFullError."""
        fd = await self._open(image)
        try:
            while length > 0:
                block = await in_thread(os.pread, fd, min(length, READ_BYTES), offset)
                if not block:
                    raise CorruptImageError(image.sha256, "its cached file is truncated")
                offset, length = offset + len(block), length - len(block)
                yield block
        finally:
            os.close(fd)

    async def stat(self, sha256: str) -> Image | None:
        """See the port."""
        return await self._origin.stat(sha256)

    async def delete(self, sha256: str) -> bool:
        """See the port."""
        deleted = await self._origin.delete(sha256)
        self._cache.drop(sha256)
        return deleted

    async def list(self, after: str, limit: int) -> Sequence[Image]:
        """See the port."""
        return await self._origin.list(after, limit)

    async def sweep(self) -> int:
        """See the port."""
        return await self._origin.sweep()

    async def _open(self, image: Image) -> int:
        header = Header(image.sha256, image.size_bytes)
        async with self._fill_lock(image.sha256):
            fd = await self._cache.reader(header)
            if fd is None:
                await self._fill(image, header)
                fd = await self._cache.reader(header)
        if fd is None:
            raise CacheFullError("the image was evicted immediately")
        return fd

    async def _fill(self, image: Image, header: Header) -> None:
        async with self._cache.filling(header) as filling:
            async with contextlib.aclosing(self._origin.get_range(image, 0, image.size_bytes)) as blocks:
                async for block in blocks:
                    await filling.write(block)
            await self._cache.commit(filling)

    @contextlib.asynccontextmanager
    async def _fill_lock(self, sha256: str) -> AsyncIterator[None]:
        """Hold a lock per digest, kept while it has users."""
        lock, users = self._fills.get(sha256, (asyncio.Lock(), 0))
        self._fills[sha256] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._fills[sha256]
            self._fills[sha256] = (lock, users - 1)
            if users == 1:
                del self._fills[sha256]


async def _tee(chunks: AsyncIterator[bytes], filling: Filling) -> AsyncGenerator[bytes, None]:
    """Yield `chunks` and write them to the cache; continue without the cache if the disk fails."""
    writing = True
    async for chunk in chunks:
        try:
            if writing:
                await filling.write(chunk)
        except (CacheFullError, CorruptImageError) as e:
            writing = False
            _log.info("upload not cached", extra={"why": e.message})
        yield chunk
