"""The port PartStore in memory, held to the same contract as the real one."""

from __future__ import annotations

from services.ota.errors import PartsFullError


class MemoryParts:
    """Parts in a dict, `most` of them."""

    def __init__(self, most: int = 2048) -> None:
        self.parts: dict[str, bytes] = {}
        self.most = most

    async def put(self, part: str, data: bytes) -> None:
        """See the port."""
        if part not in self.parts and len(self.parts) >= self.most:
            raise PartsFullError
        self.parts[part] = data

    async def get(self, part: str) -> bytes | None:
        """See the port."""
        return self.parts.get(part)

    async def drop(self, part: str) -> None:
        """See the port."""
        self.parts.pop(part, None)

    async def stored(self) -> frozenset[str]:
        """See the port."""
        return frozenset(self.parts)
