"""The port DeviceWriter on the bucket `devices`."""

from __future__ import annotations

from collections.abc import Sequence

from nats.aio.client import Client

from services.chassis import buckets
from services.chassis.errors import RevisionConflictError
from services.chassis.kv_writer import KvWriter
from services.domain.errors import YggError
from services.registry.adapters import records
from services.registry.model import DeviceRecord
from services.registry.ports import DeviceStore


class KvDeviceWriter:
    """Pipelines new keys; a key that was deleted before is written through the store, one at a time."""

    def __init__(self, writer: KvWriter, store: DeviceStore) -> None:
        self._writer, self._store = writer, store

    @classmethod
    async def open(cls, client: Client, store: DeviceStore) -> KvDeviceWriter:
        """Open the writer."""
        writer = KvWriter(client, buckets.DEVICES)
        await writer.open()
        return cls(writer, store)

    async def create_all(self, found: Sequence[DeviceRecord]) -> Sequence[int | YggError]:
        """Return for each device its revision or the error."""
        answers = await self._writer.create([(record.id, records.device_to_bytes(record)) for record in found])
        for position, answer in enumerate(answers):
            if isinstance(answer, RevisionConflictError):
                answers[position] = await self._again(found[position])
        return answers

    async def _again(self, record: DeviceRecord) -> int | YggError:
        try:
            if await self._store.get(record.id) is not None:
                return RevisionConflictError(f"{record.id} exists")
            return (await self._store.create(record)).revision
        except YggError as e:
            return e
