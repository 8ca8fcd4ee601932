"""The port ObjectStore in memory, held to the same contract as the real ones; counts its reads."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import UTC, datetime

from services.ota.errors import ImageNotFoundError
from services.ota.model import Header, Image, blocks, verified

BLOCK_BYTES = 100_000


class MemoryObjects:
    """Images in a dict, which other instances may share."""

    def __init__(
        self, images: dict[str, tuple[Image, bytes]] | None = None, unfinished: set[int] | None = None
    ) -> None:
        self.images = {} if images is None else images
        self.unfinished = set() if unfinished is None else unfinished
        self.reads = 0
        self._ids = itertools.count()
        self._seen: frozenset[int] = frozenset()

    async def put_stream(self, header: Header, chunks: AsyncIterator[bytes]) -> Image:
        """See the port."""
        if header.sha256 in self.images:
            return self.images[header.sha256][0]
        upload, data = next(self._ids), bytearray()
        self.unfinished.add(upload)
        try:
            async with contextlib.aclosing(blocks(verified(header, chunks), BLOCK_BYTES)) as found:
                async for block in found:
                    data += block
        finally:
            self.unfinished.discard(upload)
        image = Image(header.sha256, len(data), datetime.now(UTC))
        return self.images.setdefault(header.sha256, (image, bytes(data)))[0]

    async def get_range(self, image: Image, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """See the port."""
        if image.sha256 not in self.images:
            raise ImageNotFoundError(image.sha256)
        self.reads += 1
        data = self.images[image.sha256][1][offset : offset + length]
        for start in range(0, length, BLOCK_BYTES):
            yield data[start : start + BLOCK_BYTES]

    async def stat(self, sha256: str) -> Image | None:
        """See the port."""
        return self.images[sha256][0] if sha256 in self.images else None

    async def delete(self, sha256: str) -> bool:
        """See the port."""
        return self.images.pop(sha256, None) is not None

    async def list(self, after: str, limit: int) -> Sequence[Image]:
        """See the port."""
        return [self.images[digest][0] for digest in sorted(self.images) if digest > after][:limit]

    async def sweep(self) -> int:
        """See the port."""
        dead, self._seen = self._seen & self.unfinished, frozenset(self.unfinished)
        self.unfinished -= dead
        return len(dead)
