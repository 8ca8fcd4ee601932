"""The rules on images: sizes, digests, blocks, ranges, pages."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.domain.errors import InvalidIdError, InvalidRequestError, YggError
from services.ota import model
from services.ota.errors import (
    DigestMismatchError,
    InvalidUploadError,
    RangeOutsideImageError,
    SizeMismatchError,
)
from services.ota.model import MAX_IMAGE_BYTES, Header, Image

DIGEST = hashlib.sha256(b"").hexdigest()


async def each(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def announced(data: bytes) -> Header:
    return Header(hashlib.sha256(data).hexdigest(), len(data))


@pytest.mark.parametrize("size", [1, MAX_IMAGE_BYTES])
def test_a_header_within_bounds_is_accepted(size: int) -> None:
    assert model.check_header(Header(DIGEST, size)).size_bytes == size


@pytest.mark.parametrize("size", [0, -1, MAX_IMAGE_BYTES + 1, 2**64 - 1])
def test_a_size_out_of_bounds_is_refused(size: int) -> None:
    with pytest.raises(InvalidUploadError):
        model.check_header(Header(DIGEST, size))


@pytest.mark.parametrize("digest", ["", DIGEST.upper(), DIGEST[:-1], DIGEST + "0", DIGEST + "\n", "../" + DIGEST[3:]])
def test_invalid_digest_is_refused(digest: str) -> None:
    with pytest.raises(InvalidIdError):
        model.check_header(Header(digest, 1))


@pytest.mark.parametrize(("size", "fits"), [(0, False), (1, True), (2**20, True), (2**20 + 1, False)])
def test_chunks_have_bounds(size: int, fits: bool) -> None:
    if fits:
        assert len(model.check_chunk(bytes(size))) == size
    else:
        with pytest.raises(InvalidUploadError):
            model.check_chunk(bytes(size))


@given(st.lists(st.binary(min_size=1, max_size=50)), st.integers(1, 64))
async def test_blocks_are_the_same_bytes_in_equal_sizes(chunks: list[bytes], size: int) -> None:
    data = b"".join(chunks)
    blocks = [block async for block in model.blocks(model.verified(announced(data), each(chunks)), size)]
    assert b"".join(blocks) == data
    assert all(len(block) == size for block in blocks[:-1])
    assert all(0 < len(block) <= size for block in blocks[-1:])


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1), st.integers(-5, 5), st.booleans())
async def test_only_announced_bytes_pass(chunks: list[bytes], more: int, right_digest: bool) -> None:
    data = b"".join(chunks)
    digest = hashlib.sha256(data if right_digest else data + b"!").hexdigest()
    passed = b""
    wanted: type[YggError] | None = SizeMismatchError if more else None if right_digest else DigestMismatchError
    try:
        async for chunk in model.verified(Header(digest, len(data) + more), each(chunks)):
            passed += chunk
    except YggError as e:
        assert type(e) is wanted
    else:
        assert wanted is None
    assert data.startswith(passed)
    assert len(passed) <= len(data) + max(0, more)


async def test_endless_upload_is_cut_off_at_announced_size() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 10
            yield bytes(10)

    with pytest.raises(SizeMismatchError) as e:
        async for _ in model.verified(Header(DIGEST, 95), endless()):
            pass
    assert sent == 100
    assert e.value.data == {"announced": "95", "got": "100"}


@example(100, 0)
@example(99, 1)
@example(0, 100)
@given(st.integers(0, 120), st.integers(0, 120))
def test_a_range_is_exact_or_refused(offset: int, length: int) -> None:
    data = bytes(range(100))
    image = Image(DIGEST, len(data), datetime.now(UTC))
    asked = data[offset:] if length == 0 else data[offset : offset + length]
    possible = offset < 100 and offset + length <= 100
    if not possible:
        with pytest.raises(RangeOutsideImageError):
            model.resolve_range(image, offset, length)
    else:
        start, count = model.resolve_range(image, offset, length)
        assert data[start : start + count] == asked


@given(st.binary(max_size=1000), st.integers(1, 300))
def test_pieces_are_the_block(block: bytes, size: int) -> None:
    pieces = model.pieces(block, size)
    assert b"".join(pieces) == block
    assert all(1 <= len(piece) <= size for piece in pieces)


def test_pages_have_defaults_and_bounds() -> None:
    assert model.check_page(0, "") == (100, "")
    assert model.check_page(1000, DIGEST) == (1000, DIGEST)
    for size, token in ((-1, ""), (1001, ""), (10, "next"), (10, DIGEST + "\n")):
        with pytest.raises(InvalidRequestError):
            model.check_page(size, token)
