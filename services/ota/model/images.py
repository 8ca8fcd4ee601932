"""Rules for images: sizes, digests, ranges, pages. Pure.

An image is named by the SHA-256 of its bytes, so equal names mean equal bytes and nothing is ever overwritten.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.domain import ids
from services.domain.errors import InvalidIdError, InvalidRequestError
from services.ota.errors import DigestMismatchError, InvalidUploadError, RangeOutsideImageError, SizeMismatchError

MAX_IMAGE_BYTES = 64 * 1024 * 1024
MAX_CHUNK_BYTES = 1024 * 1024
PIECE_BYTES = 64 * 1024
DEFAULT_PAGE = 100
MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Header:
    """Announced SHA-256 in lower-case hex, and length in bytes."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Image:
    """A stored image; `create_time` is in UTC."""

    sha256: str
    size_bytes: int
    create_time: datetime


def check_header(header: Header) -> Header:
    """Return `header` if it is valid; raises InvalidIdError or InvalidUploadError."""
    ids.digest(header.sha256, "header.sha256")
    if not 1 <= header.size_bytes <= MAX_IMAGE_BYTES:
        raise InvalidUploadError(
            f"size_bytes is {header.size_bytes}, 1 to {MAX_IMAGE_BYTES} are allowed",
            size_bytes=header.size_bytes,
        )
    return header


def check_chunk(chunk: bytes) -> bytes:
    """Return `chunk` if its length is valid; raises InvalidUploadError."""
    if not 1 <= len(chunk) <= MAX_CHUNK_BYTES:
        raise InvalidUploadError(f"a chunk has {len(chunk)} bytes, 1 to {MAX_CHUNK_BYTES} are allowed")
    return chunk


async def verified(header: Header, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield `chunks`; end normally only if all of them together match `header`.

    Raises SizeMismatchError (before yielding an excess byte) or DigestMismatchError (after the last chunk): a store
    commits after the end, and rolls back on any exception.
    """
    digest, got = hashlib.sha256(), 0
    async for chunk in chunks:
        got += len(chunk)
        if got > header.size_bytes:
            raise SizeMismatchError(header.size_bytes, got)
        digest.update(chunk)
        yield chunk
    if got < header.size_bytes:
        raise SizeMismatchError(header.size_bytes, got)
    if digest.hexdigest() != header.sha256:
        raise DigestMismatchError(header.sha256, digest.hexdigest())


async def blocks(chunks: AsyncGenerator[bytes, None], size: int) -> AsyncGenerator[bytes, None]:
    """Yield the same bytes in blocks of `size` bytes, the last one shorter; buffers at most one block and one chunk."""
    buffer = bytearray()
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            buffer += chunk
            while len(buffer) >= size:
                with memoryview(buffer) as view:
                    block = bytes(view[:size])
                del buffer[:size]
                yield block
    if buffer:
        yield bytes(buffer)


def pieces(block: bytes, size: int = PIECE_BYTES) -> Sequence[bytes]:
    """Return the block in pieces of at most `size` bytes."""
    return [block[start : start + size] for start in range(0, len(block), size)]


def resolve_range(image: Image, offset: int, length: int) -> tuple[int, int]:
    """Return offset and length in bytes, with length 0 resolved to the end; raises RangeOutsideImageError."""
    end = offset + length if length else image.size_bytes
    if not 0 <= offset < end <= image.size_bytes:
        raise RangeOutsideImageError(offset, length, image.size_bytes)
    return offset, end - offset


def check_page(page_size: int, page_token: str) -> tuple[int, str]:
    """Return the page size and the digest to start after ("" for the first page); raises InvalidRequestError."""
    if not 0 <= page_size <= MAX_PAGE:
        raise InvalidRequestError(
            f"page_size is {page_size}, 0 to {MAX_PAGE} are allowed; 0 means {DEFAULT_PAGE}", field="page_size"
        )
    try:
        after = ids.digest(page_token) if page_token else ""
    except InvalidIdError as e:
        raise InvalidRequestError("page_token is not a token of a previous page", field="page_token") from e
    return page_size or DEFAULT_PAGE, after
