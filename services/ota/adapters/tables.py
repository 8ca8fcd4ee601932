"""The port Table on a key-value bucket: an in-memory view that follows the bucket's stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from nats.js import JetStreamContext

from services.chassis import records
from services.chassis.errors import UnreadableRecordError
from services.chassis.kv import Bucket
from services.chassis.streams import follow
from services.ota.ports import Row

T = TypeVar("T")
_log = logging.getLogger(__name__)


class KvTable(Generic[T]):
    """A table in one bucket. `run` must run; `ready` is set when the view is complete."""

    def __init__(
        self, js: JetStreamContext, bucket: Bucket, encode: Callable[[T], bytes], decode: Callable[[bytes], T]
    ) -> None:
        self._js, self._bucket, self._encode, self._decode = js, bucket, encode, decode
        self._rows: dict[str, Row[T]] = {}
        self._revisions: dict[str, int] = {}
        self._change = asyncio.Event()
        self.ready = asyncio.Event()

    def get(self, key: str) -> Row[T] | None:
        """See the port."""
        return self._rows.get(key)

    def rows(self) -> list[Row[T]]:
        """See the port."""
        return list(self._rows.values())

    async def fresh(self, key: str) -> Row[T] | None:
        """See the port."""
        entry = await self._bucket.get(key)
        if entry is None:
            return None
        self._apply(key, entry.value, entry.revision)
        return self._row(key)

    async def create(self, key: str, value: T) -> Row[T]:
        """See the port."""
        data = self._encode(value)
        self._apply(key, data, await self._bucket.create_key(key, data))
        return self._row(key)

    async def update(self, row: Row[T], value: T) -> Row[T]:
        """See the port."""
        data = self._encode(value)
        self._apply(row.key, data, await self._bucket.update(row.key, data, row.revision))
        return self._row(row.key)

    async def changed(self) -> None:
        """See the port."""
        await self._change.wait()
        self._change.clear()

    async def run(self) -> None:
        """Follow the bucket until cancelled."""
        prefix = len(self._bucket.spec.subject(""))
        async for batch in follow(self._js, self._bucket.spec.stream):
            for record in batch:
                if record.deleted:
                    self._remove(record.subject[prefix:], record.sequence)
                else:
                    self._apply(record.subject[prefix:], record.data, record.sequence)
            if not batch:
                self.ready.set()

    def _row(self, key: str) -> Row[T]:
        try:
            return self._rows[key]
        except KeyError:
            name = f"{self._bucket.spec.name}/{key}"
            raise UnreadableRecordError(f"the record {name} cannot be read", hint="See the log of ota.") from None

    def _apply(self, key: str, data: bytes, revision: int) -> None:
        """Apply a record to the view; an unreadable record is left out."""
        if revision > self._revisions.get(key, 0):
            value = records.try_decode(self._bucket.spec.name, key, data, self._decode)
            if value is None:
                self._remove(key, revision)
                return
            self._revisions[key] = revision
            self._rows[key] = Row(key, value, revision)
            self._change.set()

    def _remove(self, key: str, revision: int) -> None:
        if revision > self._revisions.get(key, 0):
            self._revisions[key] = revision
            if self._rows.pop(key, None):
                self._change.set()
