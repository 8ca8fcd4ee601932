"""Tokens that grant one device one image, and their use."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncGenerator

from services.chassis.errors import RevisionConflictError
from services.domain import ids
from services.domain.access import denied_reason
from services.ota.errors import DownloadForbiddenError
from services.ota.model import download as rules
from services.ota.model.download import Download
from services.ota.ports import ObjectStore, Registry, Row, Table
from services.ota.service.images import Images
from services.ota.service.releases import Clock


class Downloads:
    """Tokens in their table."""

    def __init__(
        self, table: Table[Download], images: Images, store: ObjectStore, registry: Registry, now: Clock
    ) -> None:
        self._table, self._images, self._store, self._registry, self._now = table, images, store, registry, now

    async def create(self, device_id: str, image_sha256: str) -> tuple[str, Download]:
        """Return a new token and its grant; raises InvalidIdError, ImageNotFoundError."""
        image = await self._images.get(image_sha256)
        found = Download(ids.device_id(device_id), image.sha256, image.size_bytes, self._now() + rules.LIFE_S)
        token = secrets.token_urlsafe(rules.TOKEN_BYTES)
        await self._table.create(rules.key(token), found)
        return token, found

    async def open(self, token: str, device_id: str, certified_unix_s: float) -> Row[Download]:
        """Return the grant of a token for this device; `certified_unix_s` is the start of its certificate.

        Raises DownloadForbiddenError, also for a suspended device or a revoked certificate; RemoteError if the registry
        is unavailable.
        """
        row = await self._table.fresh(rules.key(token))
        rules.check(row.value if row else None, device_id, self._now())
        if row is None:
            raise DownloadForbiddenError
        access = await self._registry.access(device_id)
        if access and denied_reason(device_id, access.state, access.revoked_unix_s, certified_unix_s):
            raise DownloadForbiddenError
        return row

    def remaining_s(self, row: Row[Download]) -> float:
        """Return the remaining lifetime of the grant, in seconds."""
        return row.value.expires_unix_s - self._now()

    async def read(self, row: Row[Download], start: int, length: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes. The token is used up, by compare-and-set, before the last byte: one of two readers wins.

        Raises DownloadForbiddenError in the middle for the other reader.
        """
        download = row.value
        image = await self._images.get(download.image_sha256)
        left = length
        async with contextlib.aclosing(self._store.get_range(image, start, length)) as parts:
            async for part in parts:
                left -= len(part)
                if left == 0 and start + length == download.size_bytes:
                    await self._use_up(row)
                rules.check(download, download.device_id, self._now())
                yield part

    async def _use_up(self, row: Row[Download]) -> None:
        try:
            await self._table.update(row, rules.used(row.value))
        except RevisionConflictError as e:
            raise DownloadForbiddenError from e
