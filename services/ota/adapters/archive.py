"""The port Archive on the key-value bucket `ota_archive`: lists too long for one value, read on demand.

<key>.0, <key>.1 …     zlib over JSON: {"parts": number of parts, "rows": the rows of this part}
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any

from services.chassis.kv import Bucket

ROWS = 1000
"""Rows per part: as many DeviceUpdates fit the bucket's largest value even uncompressed."""


class KvArchive:
    """An archive in one bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def put(self, key: str, rows: Sequence[Any]) -> None:
        """See the port. Part 0 is written last: if it exists, all parts do."""
        parts = [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)] or [[]]
        for index, part in reversed(list(enumerate(parts))):
            data = json.dumps({"parts": len(parts), "rows": list(part)}, separators=(",", ":"))
            await self._bucket.put(f"{key}.{index}", zlib.compress(data.encode()))

    async def get(self, key: str) -> list[Any] | None:
        """See the port."""
        first = await self._part(f"{key}.0")
        if first is None:
            return None
        rows: list[Any] = first["rows"]
        for index in range(1, first["parts"]):
            part = await self._part(f"{key}.{index}")
            rows += part["rows"] if part else []
        return rows

    async def _part(self, key: str) -> dict[str, Any] | None:
        entry = await self._bucket.get(key)
        if entry is None:
            return None
        found: dict[str, Any] = json.loads(zlib.decompress(entry.value))
        return found
