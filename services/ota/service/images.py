"""Use cases of images: upload, get, download, list, delete."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from services.domain import ids
from services.domain.errors import YggError
from services.ota import model
from services.ota.errors import ImageNotFoundError
from services.ota.model import Header, Image
from services.ota.ports import ObjectStore

_log = logging.getLogger(__name__)


class Images:
    """Images in an object store; at most `uploads_at_once` uploads are written concurrently, others queue."""

    def __init__(self, store: ObjectStore, uploads_at_once: int) -> None:
        self._store = store
        self._turns = asyncio.Semaphore(uploads_at_once)

    async def upload(self, header: Header, chunks: AsyncIterator[bytes]) -> Image:
        """Store an image; idempotent. Raises errors of `check_header` and `ObjectStore.put_stream`."""
        model.check_header(header)
        async with self._turns:
            image = await self._store.put_stream(header, chunks)
        _log.info("image stored", extra={"sha256": image.sha256, "size_bytes": image.size_bytes})
        return image

    async def get(self, sha256: str) -> Image:
        """Return the image; raises InvalidIdError, ImageNotFoundError."""
        image = await self._store.stat(ids.digest(sha256, "sha256"))
        if image is None:
            raise ImageNotFoundError(sha256)
        return image

    async def download(self, sha256: str, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes in pieces of at most PIECE_BYTES; length 0 means to the end.

        Raises RangeOutsideImageError.
        """
        image = await self.get(sha256)
        start, count = model.resolve_range(image, offset, length)
        async with contextlib.aclosing(self._store.get_range(image, start, count)) as blocks:
            async for block in blocks:
                for piece in model.pieces(block):
                    yield piece

    async def page(self, page_size: int, page_token: str) -> tuple[Sequence[Image], str]:
        """Return a page of images ordered by digest, and the token of the next page, "" on the last."""
        limit, after = model.check_page(page_size, page_token)
        found = await self._store.list(after, limit + 1)
        return found[:limit], found[limit - 1].sha256 if len(found) > limit else ""

    async def delete(self, sha256: str) -> None:
        """Delete the image; raises InvalidIdError, ImageNotFoundError."""
        if not await self._store.delete(ids.digest(sha256, "sha256")):
            raise ImageNotFoundError(sha256)
        _log.info("image deleted", extra={"sha256": sha256})


async def sweep_forever(store: ObjectStore, interval_s: float) -> None:
    """Sweep the store every `interval_s` seconds, which must exceed the maximum duration of an upload."""
    while True:
        try:
            if count := await store.sweep():
                _log.info("unfinished uploads swept", extra={"count": count})
        except YggError as e:
            _log.warning("sweep failed", extra={"why": e.message})
        await asyncio.sleep(interval_s)
