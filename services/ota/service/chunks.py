"""Chunks of images and patches with their audit paths; a few Merkle trees are cached."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncGenerator

from services.chassis.threads import in_thread
from services.domain import ids, merkle
from services.domain.errors import InvalidRequestError
from services.domain.trust import MAX_CHUNK_BYTES, MAX_CHUNKS, MIN_CHUNK_BYTES
from services.ota.errors import ImageNotFoundError, RangeOutsideImageError
from services.ota.model import Image, blocks
from services.ota.ports import ObjectStore

MAX_TREES = 8
"""Merkle trees cached, of at most about 4 MiB each."""
MAX_CHUNKS_PER_CALL = 256
"""Chunks of one ReadChunks call."""


class Chunks:
    """Reads chunks from the store; the tree of the largest image takes about 4 MiB."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._trees: OrderedDict[tuple[str, int], asyncio.Task[merkle.Tree]] = OrderedDict()

    async def read(
        self, sha256: str, chunk_size: int, first: int, count: int
    ) -> AsyncGenerator[tuple[bytes, bytes], None]:
        """Yield chunks from index `first` on, with their paths; raises errors of the bounds, ImageNotFoundError."""
        if chunk_size & (chunk_size - 1) or not MIN_CHUNK_BYTES <= chunk_size <= MAX_CHUNK_BYTES:
            raise InvalidRequestError(
                f"the chunk size must be a power of two, {MIN_CHUNK_BYTES} to {MAX_CHUNK_BYTES} bytes"
            )
        if not 1 <= count <= MAX_CHUNKS_PER_CALL:
            raise InvalidRequestError(f"{count} chunks, 1 to {MAX_CHUNKS_PER_CALL} are allowed", field="count")
        image = await self._store.stat(ids.digest(sha256, "sha256"))
        if image is None:
            raise ImageNotFoundError(sha256)
        start = first * chunk_size
        if start >= image.size_bytes or image.size_bytes > MAX_CHUNKS * chunk_size:
            raise RangeOutsideImageError(start, chunk_size, image.size_bytes)
        tree = await self.tree(image, chunk_size)
        length = min(count * chunk_size, image.size_bytes - start)
        found = blocks(self._store.get_range(image, start, length), chunk_size)
        async with contextlib.aclosing(found) as parts:
            async for part in parts:
                yield part, b"".join(tree.path(first))
                first += 1

    async def tree(self, image: Image, chunk_size: int) -> merkle.Tree:
        """Return the tree of an image; concurrent callers share its computation."""
        key = (image.sha256, chunk_size)
        task = self._trees.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._trees[key] = asyncio.create_task(self._make(image, chunk_size))
        self._trees.move_to_end(key)
        while len(self._trees) > MAX_TREES:
            self._trees.popitem(last=False)
        return await asyncio.shield(task)

    async def _make(self, image: Image, chunk_size: int) -> merkle.Tree:
        leaves: list[bytes] = []
        found = blocks(self._store.get_range(image, 0, image.size_bytes), chunk_size * 256)
        async with contextlib.aclosing(found) as parts:
            async for part in parts:
                leaves += await in_thread(_leaves, part, chunk_size)
        return await in_thread(merkle.Tree, leaves)


def _leaves(block: bytes, chunk_size: int) -> list[bytes]:
    return [merkle.leaf(chunk) for chunk in merkle.chunks(block, chunk_size)]
