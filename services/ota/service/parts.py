"""Resumable uploads: parts are stored on arrival, and joined into the image when complete."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from services.ota.errors import DigestMismatchError, PartsMissingError
from services.ota.model import Image
from services.ota.model.parts import Plan, check_part
from services.ota.ports import ObjectStore, PartStore
from services.ota.service.images import Images


class Uploads:
    """Resumable uploads over a part store that all replicas share."""

    def __init__(self, part_store: PartStore, images: Images, store: ObjectStore) -> None:
        self._parts, self._images, self._store = part_store, images, store

    async def status(self, plan: Plan) -> tuple[Image | None, list[int]]:
        """Return the image if stored, else the indexes of the missing parts."""
        image = await self._store.stat(plan.header.sha256)
        return (image, []) if image else (None, plan.missing(await self._parts.stored()))

    async def upload(self, plan: Plan, parts: AsyncIterator[tuple[int, bytes]]) -> Image:
        """Store each part, then the image; idempotent. Parts received before a failure are kept.

        Raises PartMismatchError, PartsFullError, PartsMissingError, and DigestMismatchError if all parts match but the
        image does not: then they are dropped.
        """
        if there := await self._store.stat(plan.header.sha256):
            return there
        async for index, data in parts:
            await self._parts.put(check_part(plan, index, data), data)
        try:
            image = await self._join(plan)
        except PartsMissingError:
            if (there := await self._store.stat(plan.header.sha256)) is None:
                raise
            image = there  # a concurrent upload has stored it and dropped the parts
        except DigestMismatchError:
            await self._drop(plan)
            raise
        await self._drop(plan)
        return image

    async def _join(self, plan: Plan) -> Image:
        if missing := plan.missing(await self._parts.stored()):
            raise PartsMissingError(len(missing))
        return await self._images.upload(plan.header, self._joined(plan))

    async def _joined(self, plan: Plan) -> AsyncGenerator[bytes, None]:
        for part in plan.parts:
            data = await self._parts.get(part)
            if data is None:  # expired, or dropped with another image that shared it
                raise PartsMissingError(1)
            yield data

    async def _drop(self, plan: Plan) -> None:
        for part in set(plan.parts):
            await self._parts.drop(part)
