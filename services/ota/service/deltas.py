"""Patches from the running image of a device to its target image: made once per pair and cached, never waited for.

A patch is not signed. Its own tree detects damage in transit; the digest of the resulting image decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from services.chassis.errors import RevisionConflictError
from services.domain import merkle
from services.domain.errors import Code, YggError
from services.domain.trust import Delta
from services.ota.model import Header
from services.ota.model.release import Release
from services.ota.model.update import OtaStatus
from services.ota.ports import ObjectStore, Patches, Table

MAX_PATCH_RATIO = 0.9
"""A patch larger than this part of the image is not worth the device's work."""
MAX_PATCHED_BYTES = 16 * 1024 * 1024
"""Maximum image size for patches: bsdiff needs about 20 times as much memory."""
MAX_QUEUED_PATCHES = 16
"""Patches being made or queued; further pairs get the whole image."""
MAX_ATTEMPTS = 3
"""Attempts to make a patch while the store is unavailable; after that the pair has no patch."""
_log = logging.getLogger(__name__)

Spawn = Callable[[Coroutine[Any, Any, None], str], Any]


class Deltas:
    """Patches in the table `ota_deltas`; one is made at a time, others queue, and no offer waits for them."""

    def __init__(self, table: Table[dict[str, Any]], store: ObjectStore, patches: Patches, spawn: Spawn) -> None:
        self._table, self._store, self._patches, self._spawn = table, store, patches, spawn
        self._slot = asyncio.Semaphore(1)
        self._making: set[str] = set()
        self._failures: Counter[str] = Counter()

    async def find(self, status: OtaStatus, release: Release) -> tuple[Delta | None, bool]:
        """Return the patch for a device, or None for the whole image; and False while the patch is being made."""
        formats = status.patch_formats & 3
        signed = release.manifest.delta
        if not formats or not status.image_sha256 or status.image_sha256 == release.image_sha256:
            return None, True
        if signed and signed.precursor_sha256.hex() == status.image_sha256:
            return (signed if await self._store.stat(signed.patch_sha256.hex()) else None), True
        key = f"{status.image_sha256}.{release.image_sha256}.{formats}.{release.manifest.chunk_size_bytes}"
        row = self._table.get(key)
        if row:
            return _delta(status.image_sha256, row.value), True
        if key in self._making:
            return None, False
        if len(self._making) >= MAX_QUEUED_PATCHES or await self._store.stat(status.image_sha256) is None:
            return None, True
        self._making.add(key)
        self._spawn(self._make(key, status.image_sha256, release, formats), f"patch {key[:12]}")
        return None, False

    async def _make(self, key: str, old: str, release: Release, formats: int) -> None:
        try:
            async with self._slot:
                found = await self._try(old, release, formats)
                await self._table.create(key, found)
        except RevisionConflictError:
            pass  # made by another replica
        except YggError as e:
            self._failures[key] += 1
            if e.code is Code.UNAVAILABLE and self._failures[key] < MAX_ATTEMPTS:
                _log.info("patch deferred", extra={"patch": key, "why": e.message})
                return  # the next request starts again
            _log.warning("patch abandoned", extra={"patch": key, "why": e.message})
            with contextlib.suppress(YggError):
                await self._table.create(key, {"why": e.message})
        finally:
            self._making.discard(key)

    async def _try(self, old: str, release: Release, formats: int) -> dict[str, Any]:
        before, after = await self._read(old), await self._read(release.image_sha256)
        if not before or not after:
            return {"why": f"one of the images has more than {MAX_PATCHED_BYTES} bytes, or was deleted"}
        patch = await self._patches.make(before, after, formats)
        if patch is None or len(patch) > MAX_PATCH_RATIO * len(after):
            return {"why": "the patch is not smaller"}
        digest = hashlib.sha256(patch).hexdigest()
        await self._store.put_stream(Header(digest, len(patch)), _once(patch))
        root = merkle.Tree.of(patch, release.manifest.chunk_size_bytes).root
        _log.info("patch made", extra={"from": old, "to": release.image_sha256, "size_bytes": len(patch)})
        return {"sha256": digest, "size_bytes": len(patch), "root": root.hex()}

    async def _read(self, sha256: str) -> bytes:
        image = await self._store.stat(sha256)
        if image is None or image.size_bytes > MAX_PATCHED_BYTES:
            return b""
        async with contextlib.aclosing(self._store.get_range(image, 0, image.size_bytes)) as parts:
            return b"".join([part async for part in parts])


def _delta(old: str, found: dict[str, Any]) -> Delta | None:
    if "sha256" not in found:
        return None
    return Delta(bytes.fromhex(old), found["size_bytes"], bytes.fromhex(found["sha256"]), bytes.fromhex(found["root"]))


async def _once(data: bytes) -> Any:
    yield data
