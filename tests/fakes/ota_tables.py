"""The port Table in memory, and the other ports that ota's use cases need beside an object store."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from services.chassis import trust_codec
from services.chassis.errors import RemoteError, RevisionConflictError
from services.domain.access import DeviceAccess
from services.domain.errors import Code
from services.domain.trust import Envelope, Role
from services.ota.ports import KnownDevice, Row

T = TypeVar("T")


class MemoryTable(Generic[T]):
    """Rows in a dict, with revisions."""

    def __init__(self) -> None:
        self.held: dict[str, Row[T]] = {}
        self._revisions = itertools.count(1)

    def get(self, key: str) -> Row[T] | None:
        """See the port."""
        return self.held.get(key)

    def rows(self) -> list[Row[T]]:
        """See the port."""
        return list(self.held.values())

    async def fresh(self, key: str) -> Row[T] | None:
        """See the port."""
        return self.held.get(key)

    async def create(self, key: str, value: T) -> Row[T]:
        """See the port."""
        if key in self.held:
            raise RevisionConflictError(f"{key} is there")
        return self._write(key, value)

    async def update(self, row: Row[T], value: T) -> Row[T]:
        """See the port."""
        if self.held.get(row.key) != row:
            raise RevisionConflictError(f"{row.key} has changed")
        return self._write(row.key, value)

    async def changed(self) -> None:
        """See the port; never, here."""
        await asyncio.get_running_loop().create_future()

    def _write(self, key: str, value: T) -> Row[T]:
        self.held[key] = row = Row(key, value, next(self._revisions))
        return row


class MemoryArchive:
    """The port Archive in a dict; reads return copies."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}

    async def put(self, key: str, rows: Sequence[Any]) -> None:
        """See the port."""
        self.held[key] = json.dumps(list(rows))

    async def get(self, key: str) -> list[Any] | None:
        """See the port."""
        return list(json.loads(self.held[key])) if key in self.held else None


class MemoryRegistry:
    """The port Registry: active devices and their zone; the only selectors are "" and "zone=…". `away`: no answer."""

    def __init__(self) -> None:
        self.known: dict[str, KnownDevice] = {}
        self.zones: dict[str, str] = {}
        self.away = False

    async def matching(self, selector: str) -> list[KnownDevice]:
        """See the port."""
        if self.away:
            raise RemoteError(Code.UNAVAILABLE, "UNAVAILABLE", "the registry does not answer")
        zone = selector.removeprefix("zone=")
        return [each for each in self.known.values() if not zone or self.zones[each.device_id] == zone]

    async def access(self, device_id: str) -> DeviceAccess | None:
        """See the port."""
        raise NotImplementedError


class ItHasTheLease:
    """The port Lease of the only replica."""

    async def held(self) -> bool:
        """See the port."""
        return True


class NoEvents:
    """The port Events, without listeners."""

    async def publish(self, rollout_id: str, kind: str, device_id: str = "", text: str = "") -> None:
        """See the port."""


class KeySigner:
    """The timestamp key, from the test's hands."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public_key = trust_codec.public_bytes(key.public_key())

    def sign(self, payload: bytes) -> bytes:
        """The envelope of a timestamp."""
        return trust_codec.envelope_bytes(Envelope(payload, [trust_codec.sign(self._key, Role.TIMESTAMP, payload)]))
