"""Uploads in parts: checks, resumption after a break, and resistance to other callers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

import pytest

from services.domain.errors import InvalidIdError
from services.ota.errors import (
    DigestMismatchError,
    InvalidUploadError,
    PartMismatchError,
    PartsFullError,
    PartsMissingError,
)
from services.ota.model.parts import PART_BYTES, Plan, plan
from services.ota.service import Images
from services.ota.service.parts import Uploads
from tests.fakes.objects import MemoryObjects
from tests.fakes.parts import MemoryParts
from tests.fixtures.images import chunked, header_of, image_bytes

DATA = image_bytes(4 * PART_BYTES + 1000)
Part = tuple[int, bytes]


def cut(data: bytes) -> list[bytes]:
    return [data[start : start + PART_BYTES] for start in range(0, len(data), PART_BYTES)]


def plan_of(data: bytes) -> Plan:
    return plan(header_of(data), [hashlib.sha256(part).digest() for part in cut(data)])


async def sent(parts: Iterable[Part], broken: bool = False) -> AsyncIterator[Part]:
    for part in parts:
        yield part
    if broken:
        raise ConnectionResetError


class Place:
    """Stores, and replicas of ota over them."""

    def __init__(self, most: int = 2048) -> None:
        self.objects, self.parts = MemoryObjects(), MemoryParts(most)

    def replica(self) -> Uploads:
        return Uploads(self.parts, Images(self.objects, 8), self.objects)

    def stored(self, data: bytes) -> bool:
        found = self.objects.images.get(header_of(data).sha256)
        return found is not None and found[1] == data


async def test_broken_upload_resumes_at_another_replica() -> None:
    place, parts = Place(), list(enumerate(cut(DATA)))
    assert await place.replica().status(plan_of(DATA)) == (None, [0, 1, 2, 3, 4])
    with pytest.raises(ConnectionResetError):
        await place.replica().upload(plan_of(DATA), sent(parts[:3], broken=True))
    assert await place.replica().status(plan_of(DATA)) == (None, [3, 4])
    image = await place.replica().upload(plan_of(DATA), sent(parts[3:]))
    assert image.sha256 == header_of(DATA).sha256
    assert place.stored(DATA)
    assert place.parts.parts == {}  # nothing is left of it
    assert await place.replica().status(plan_of(DATA)) == (image, [])


async def test_all_parts_and_no_image_is_joined_without_sending_any() -> None:
    """As after a kill between the last part and the image."""
    place = Place()
    place.parts.parts = {hashlib.sha256(part).hexdigest(): part for part in cut(DATA)}
    assert await place.replica().status(plan_of(DATA)) == (None, [])
    await place.replica().upload(plan_of(DATA), sent([]))
    assert place.stored(DATA)


async def test_existing_image_is_returned_without_reading_parts() -> None:
    place = Place()
    image = await place.objects.put_stream(header_of(DATA), chunked(DATA))

    async def unread() -> AsyncIterator[Part]:
        pytest.fail("a part was read")
        yield 0, b""

    assert await place.replica().upload(plan_of(DATA), unread()) == image


async def test_short_upload_reports_missing_parts_and_keeps_rest() -> None:
    place = Place()
    with pytest.raises(PartsMissingError, match="2 parts"):
        await place.replica().upload(plan_of(DATA), sent(list(enumerate(cut(DATA)))[:3]))
    assert len(place.parts.parts) == 3
    assert place.objects.images == {}


async def test_two_concurrent_uploads_of_one_image_succeed() -> None:
    place, both = Place(), asyncio.Barrier(2)

    async def together() -> AsyncIterator[Part]:
        for part in enumerate(cut(DATA)):
            yield part
            if part[0] == 3:
                await both.wait()

    images = await asyncio.gather(*(place.replica().upload(plan_of(DATA), together()) for _ in range(2)))
    assert images[0] == images[1]
    assert place.stored(DATA)


async def test_dropped_shared_part_is_requested_again() -> None:
    place = Place()
    other = DATA[: 2 * PART_BYTES]
    with pytest.raises(PartsMissingError):
        await place.replica().upload(plan_of(DATA), sent(list(enumerate(cut(DATA)))[:4]))
    await place.replica().upload(plan_of(other), sent([]))  # has all of its parts from the first; drops them
    with pytest.raises(PartsMissingError):
        await place.replica().upload(plan_of(DATA), sent([(4, cut(DATA)[4])]))
    assert await place.replica().status(plan_of(DATA)) == (None, [0, 1])
    await place.replica().upload(plan_of(DATA), sent(list(enumerate(cut(DATA)))[:2]))
    assert place.stored(DATA)


BAD_PARTS = {
    "other bytes": (0, image_bytes(PART_BYTES, 7)),
    "a byte too few": (0, DATA[: PART_BYTES - 1]),
    "a byte too many": (4, cut(DATA)[4] + b"x"),
    "another place": (1, cut(DATA)[0]),
    "no such place": (5, b"x"),
    "nothing": (0, b""),
}


@pytest.mark.parametrize("what", BAD_PARTS)
async def test_unannounced_part_is_refused_and_others_kept(what: str) -> None:
    place = Place()
    with pytest.raises(PartMismatchError):
        await place.replica().upload(plan_of(DATA), sent([(2, cut(DATA)[2]), BAD_PARTS[what]]))
    assert set(place.parts.parts) == {hashlib.sha256(cut(DATA)[2]).hexdigest()}


async def test_parts_of_wrong_image_are_dropped() -> None:
    place, lie = Place(), plan_of(DATA)
    lie = replace(lie, header=replace(lie.header, sha256="0" * 64))
    with pytest.raises(DigestMismatchError):
        await place.replica().upload(lie, sent(enumerate(cut(DATA))))
    assert (place.objects.images, place.parts.parts, place.objects.unfinished) == ({}, {}, set())


async def test_uploads_of_two_callers_are_isolated() -> None:
    place, parts = Place(), list(enumerate(cut(DATA)))
    with pytest.raises(ConnectionResetError):
        await place.replica().upload(plan_of(DATA), sent(parts[:2], broken=True))
    liar = plan(header_of(DATA), [hashlib.sha256(part).digest() for part in cut(image_bytes(len(DATA), 3))])
    with pytest.raises(DigestMismatchError):  # announces the same image with parts of another one
        await place.replica().upload(liar, sent(enumerate(cut(image_bytes(len(DATA), 3)))))
    assert await place.replica().status(plan_of(DATA)) == (None, [2, 3, 4])
    await place.replica().upload(plan_of(DATA), sent(parts[2:]))
    assert place.stored(DATA)


async def test_parts_over_limit_are_refused() -> None:
    with pytest.raises(PartsFullError):
        await Place(most=3).replica().upload(plan_of(DATA), sent(enumerate(cut(DATA))))


@pytest.mark.parametrize("count", [0, 4, 6])
def test_a_header_names_exactly_the_parts_of_its_image(count: int) -> None:
    with pytest.raises(InvalidUploadError):
        plan(header_of(DATA), [bytes(32)] * count)


def test_invalid_header_is_refused() -> None:
    good = header_of(DATA)
    with pytest.raises(InvalidUploadError):
        plan(good, [bytes(31)] * 5)
    with pytest.raises(InvalidUploadError):
        plan(replace(good, size_bytes=0), [])
    with pytest.raises(InvalidUploadError):
        plan(replace(good, size_bytes=2**63), [bytes(32)] * 5)
    with pytest.raises(InvalidIdError):
        plan(replace(good, sha256="../etc"), [bytes(32)] * 5)


def test_a_whole_number_of_parts_has_no_empty_last_one() -> None:
    assert len(plan_of(DATA[: 2 * PART_BYTES]).parts) == 2
    assert plan_of(b"x").size(0) == 1
