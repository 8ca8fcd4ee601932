"""What ota needs from outside: a store of images, content-addressed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Protocol

from services.ota.model import Header, Image


class ObjectStore(Protocol):
    """Images by SHA-256. Nothing that is half-written is ever visible.

    Every method raises UNAVAILABLE (ObjectStoreError, StoreUnavailableError) where the store does not answer.
    """

    async def put_stream(self, header: Header, chunks: AsyncIterator[bytes]) -> Image:
        """Stores an image; returned at once, without reading `chunks`, where it is there already.

        Raises SizeMismatchError and DigestMismatchError; these, cancellation, and whatever `chunks` raises leave
        nothing behind. Of two at once with the same digest both succeed and one is kept.
        """

    def get_range(self, image: Image, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """`length` bytes from `offset`, in parts of any size up to 1 MiB; the range lies in the image.

        `image` is as `stat` returned it; raises ImageNotFoundError where it is gone since.
        """

    async def stat(self, sha256: str) -> Image | None:
        """The image, or None."""

    async def delete(self, sha256: str) -> bool:
        """Removes the image; False where there was none."""

    async def list(self, after: str, limit: int) -> Sequence[Image]:
        """At most `limit` images whose digests come after `after`, ordered by digest."""

    async def sweep(self) -> int:
        """Removes what uploads left that died with their process; returns how many.

        Goes by what it saw the last time: an unfinished upload seen twice is dead, so the calls must lie further
        apart than an upload may take.
        """
