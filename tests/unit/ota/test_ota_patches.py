"""Making patches: what cannot be patched gets the whole image, and no failure ends the service."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tempfile
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import detools  # type: ignore[import-untyped]
import pytest

from services.chassis.errors import StoreUnavailableError
from services.ota.adapters.patches import DetoolsPatches, smallest
from services.ota.errors import DeltaError
from services.ota.model import Header, Image
from services.ota.model.release import Release, Signed
from services.ota.model.update import OtaStatus
from services.ota.service import deltas
from services.ota.service.deltas import Deltas
from tests.fakes.objects import MemoryObjects
from tests.fakes.ota_keys import image_of, manifest_of
from tests.fakes.ota_tables import MemoryTable
from tests.fixtures.images import chunked, header_of, image_bytes

OLD = image_of("old", 20_000)
NEW = OLD[:10_000] + bytes(40) + OLD[10_000:]


class Place:
    """Both images stored, and a device that runs OLD."""

    def __init__(self, objects: MemoryObjects | None = None) -> None:
        self.objects, self.table = objects or MemoryObjects(), MemoryTable[dict[str, Any]]()
        self.tasks: list[asyncio.Task[None]] = []
        self.deltas = Deltas(self.table, self.objects, DetoolsPatches(), self._spawn)
        self.release = Release("r", manifest_of(NEW), Signed(b"", 0))

    def _spawn(self, task: Coroutine[Any, Any, None], name: str) -> None:
        self.tasks.append(asyncio.create_task(task, name=name))

    async def find(self) -> tuple[Any, bool]:
        """The file for the device, once it is decided."""
        for image in (OLD, NEW):
            await self.objects.put_stream(header_of(image), chunked(image))
        assert await self.look() == (None, False)
        await asyncio.gather(*self.tasks)  # none raises: the service would end with it
        return await self.look()

    async def look(self) -> tuple[Any, bool]:
        """The file for the device by now."""
        standing = OtaStatus(image_sha256=hashlib.sha256(OLD).hexdigest(), patch_formats=3)
        return await self.deltas.find(standing, self.release)


async def test_a_patch_is_made_and_stored() -> None:
    place = Place()
    delta, settled = await place.find()
    assert settled
    assert delta.precursor_sha256 == hashlib.sha256(OLD).digest()
    _, patch = place.objects.images[delta.patch_sha256.hex()]
    made = io.BytesIO()
    detools.apply_patch(io.BytesIO(OLD), io.BytesIO(patch), made)
    assert made.getvalue() == NEW


async def test_no_room_for_temporary_files_costs_the_patch_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(DeltaError):
        await DetoolsPatches().make(OLD, NEW, 3)
    assert await Place().find() == (None, True)


async def test_images_that_are_too_large_are_not_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deltas, "MAX_PATCHED_BYTES", len(NEW) - 1)
    assert await Place().find() == (None, True)


async def test_a_patch_that_saves_nothing_is_not_used() -> None:
    place, other = Place(), image_bytes(20_000, 9)
    place.release = replace(place.release, manifest=manifest_of(other))
    await place.objects.put_stream(header_of(other), chunked(other))
    assert await place.find() == (None, True)


@pytest.mark.parametrize("formats", [1, 2, 3])
def test_the_smaller_of_the_formats_that_a_device_reads(formats: int) -> None:
    old, new = bytes(8000), bytes(range(256)) * 40
    each = {bit: smallest(old, new, bit) for bit in (1, 2)}
    assert each[1] != each[2]
    assert smallest(old, new, formats) == min((each[bit] for bit in (1, 2) if formats & bit), key=len)


class _Away(MemoryObjects):
    """A store that does not answer the first `times` that a patch is stored."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def put_stream(self, header: Header, chunks: AsyncIterator[bytes]) -> Image:
        if header.size_bytes < len(OLD) and self.times:
            self.times -= 1
            raise StoreUnavailableError("the store does not answer")
        return await super().put_stream(header, chunks)


@pytest.mark.parametrize(("times", "made"), [(1, True), (deltas.MAX_ATTEMPTS - 1, True), (deltas.MAX_ATTEMPTS, False)])
async def test_patch_is_retried_then_abandoned_without_store(times: int, made: bool) -> None:
    place = Place(_Away(times))
    await place.find()
    settled, found = False, None
    for _ in range(deltas.MAX_ATTEMPTS):
        found, settled = await place.look()
        if settled:
            break
        await asyncio.gather(*place.tasks)
    assert settled
    assert (found is not None) is made
