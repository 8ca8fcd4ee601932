"""Uploads that go on after a break: parts are kept as they come, and joined into the image when all are there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from services.ota.errors import DigestMismatchError, PartsMissingError
from services.ota.model import Image
from services.ota.model.parts import Plan, check_part
from services.ota.ports import ObjectStore, PartStore
from services.ota.service.images import Images


class Uploads:
    """Over a store of parts that all replicas share."""

    def __init__(self, kept: PartStore, images: Images, store: ObjectStore) -> None:
        self._kept, self._images, self._store = kept, images, store

    async def look(self, plan: Plan) -> tuple[Image | None, list[int]]:
        """The image where it is stored; else the places of the parts that are missing."""
        image = await self._store.stat(plan.header.sha256)
        return (image, []) if image else (None, plan.missing(await self._kept.held()))

    async def upload(self, plan: Plan, parts: AsyncIterator[tuple[int, bytes]]) -> Image:
        """Keeps each part, then stores the image; idempotent. What came before any failure is kept.

        Raises PartMismatchError, PartsFullError, PartsMissingError, and DigestMismatchError where the parts are as
        announced and the image is not: then they are dropped.
        """
        if there := await self._store.stat(plan.header.sha256):
            return there
        async for index, data in parts:
            await self._kept.put(check_part(plan, index, data), data)
        try:
            image = await self._join(plan)
        except PartsMissingError:
            if (there := await self._store.stat(plan.header.sha256)) is None:
                raise
            image = there  # another upload of it was faster, and has dropped the parts
        except DigestMismatchError:
            await self._drop(plan)
            raise
        await self._drop(plan)
        return image

    async def _join(self, plan: Plan) -> Image:
        if missing := plan.missing(await self._kept.held()):
            raise PartsMissingError(len(missing))
        return await self._images.upload(plan.header, self._joined(plan))

    async def _joined(self, plan: Plan) -> AsyncGenerator[bytes, None]:
        for part in plan.parts:
            data = await self._kept.get(part)
            if data is None:  # it expired, or belonged to another image, too, that was stored just now
                raise PartsMissingError(1)
            yield data

    async def _drop(self, plan: Plan) -> None:
        for part in set(plan.parts):
            await self._kept.drop(part)
