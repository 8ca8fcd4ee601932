"""The port BackupStore on the registry's key-value buckets.

A backup reads each bucket's stream to where it ended when the reading had caught up; writers go on meanwhile. Contracts
are read first and told after the bodies and documents they name, which are written before any contract names them.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from dataclasses import dataclass
from pathlib import Path

from nats.aio.client import Client
from nats.js import JetStreamContext

from services.chassis import buckets
from services.chassis.kv import Bucket, BucketSpec
from services.chassis.nats import converted
from services.chassis.streams import Record, last_sequence, read
from services.registry.adapters.spool import Spool
from services.registry.service.backup import Kept, RecordKind
from yggdrasil.registry.v1 import registry_pb2, twin_pb2

_SPECS = {
    RecordKind.DOCUMENT: buckets.DOCUMENTS,
    RecordKind.CONTRACT_BODY: buckets.CONTRACT_BODIES,
    RecordKind.TWIN_DESIRED: buckets.TWIN_DESIRED,
    RecordKind.TWIN_REPORTED: buckets.TWIN_REPORTED,
    RecordKind.GROUP: buckets.GROUPS,
    RecordKind.CONTRACT: buckets.CONTRACTS,
    RecordKind.DEVICE: buckets.DEVICES,
}
_REQUEST_S = 5.0


@dataclass(frozen=True, slots=True)
class KvBackup:
    """`folder` is for temporary files, as large as the largest bucket."""

    js: JetStreamContext
    client: Client
    folder: Path
    buckets: dict[RecordKind, Bucket]

    @classmethod
    async def open(cls, js: JetStreamContext, client: Client, folder: Path) -> KvBackup:
        """Makes the buckets where they are not there yet."""
        return cls(js, client, folder, {kind: await Bucket.create(js, spec) for kind, spec in _SPECS.items()})

    async def read(self) -> AsyncGenerator[tuple[Kept, int], None]:
        """Every record once, in the order of RecordKind, and how many there were when it began."""
        with closing(Spool(self.folder)) as contracts:
            await self._spool(RecordKind.CONTRACT, contracts)
            total = await contracts.count()
            total += sum([await self._subjects(kind) for kind in RecordKind if kind is not RecordKind.CONTRACT])
            for kind in RecordKind:
                if kind is RecordKind.CONTRACT:
                    async for row in contracts.rows():
                        yield _kept(kind, *row), total
                    continue
                with closing(Spool(self.folder)) as spool:
                    await self._spool(kind, spool)
                    async for row in spool.rows():
                        yield _kept(kind, *row), total

    async def _spool(self, kind: RecordKind, spool: Spool) -> None:
        """Reads until it has caught up once, and on to where the stream then ended: writers may never pause."""
        spec = _SPECS[kind]
        seen = await last_sequence(self.js, spec.stream)
        caught_up = False
        async with aclosing(read(self.js, spec.stream, latest=kind is not RecordKind.CONTRACT)) as batches:
            async for batch in batches:
                await spool.put(_row(kind, spec, record) for record in batch)
                if batch[-1].sequence >= seen:
                    if caught_up:
                        return
                    seen, caught_up = await last_sequence(self.js, spec.stream), True

    async def _subjects(self, kind: RecordKind) -> int:
        stream = _SPECS[kind].stream
        with converted(f"stream {stream}"):
            answer = await self.client.request(f"$JS.API.STREAM.INFO.{stream}", timeout=_REQUEST_S)
        return int(json.loads(answer.data).get("state", {}).get("num_subjects", 0))

    async def get(self, kind: RecordKind, key: str) -> tuple[Kept, int] | None:
        """The record, of a contract the current revision, and the sequence that wrote it; or None."""
        entry = await self.buckets[kind].get(key)
        if entry is None:
            return None
        return _kept(kind, key, _revision(kind, entry.value), _portable(kind, entry.value)), entry.revision

    async def revisions(self, device_id: str) -> dict[int, bytes]:
        """The records of a contract by revision; what stands in a later one's stead is as `model.revisions` has it."""
        spec, found = buckets.CONTRACTS, dict[int, bytes]()
        async for batch in read(self.js, spec.stream, [spec.subject(device_id)]):
            for record in batch:
                if not record.deleted:
                    revision = _revision(RecordKind.CONTRACT, record.data)
                    found = {known: data for known, data in found.items() if known < revision} | {revision: record.data}
        return found

    async def create(self, kept: Kept) -> int:
        """Writes what must not be there; returns its sequence. Raises RevisionConflictError."""
        return await self.buckets[kept.kind].create_key(kept.key, kept.data)

    async def replace(self, kept: Kept, sequence: int) -> int:
        """Writes on top of what `get` returned. What must not go back does not; see `_merged`."""
        bucket = self.buckets[kept.kind]
        entry = await bucket.get(kept.key)
        data = kept.data if entry is None else _merged(kept.kind, entry.value, kept.data)
        return await bucket.update(kept.key, data, sequence)


def _row(kind: RecordKind, spec: BucketSpec, record: Record) -> tuple[str, int, bytes | None]:
    key = record.subject.removeprefix(spec.subject(""))
    if record.deleted:
        return key, 0, None
    return key, _revision(kind, record.data), _portable(kind, record.data)


def _revision(kind: RecordKind, data: bytes) -> int:
    return registry_pb2.StoredContract.FromString(data).revision if kind is RecordKind.CONTRACT else 0


def _portable(kind: RecordKind, data: bytes) -> bytes:
    if kind is not RecordKind.TWIN_REPORTED:
        return data
    twin = twin_pb2.StoredTwin.FromString(data)
    twin.session_epoch = 0
    return twin.SerializeToString(deterministic=True)


def _merged(kind: RecordKind, here: bytes, data: bytes) -> bytes:
    """A twin keeps the session epoch that it has here; what was revoked or retired stays so, whatever a backup says."""
    if kind is RecordKind.TWIN_REPORTED:
        twin = twin_pb2.StoredTwin.FromString(data)
        twin.session_epoch = twin_pb2.StoredTwin.FromString(here).session_epoch
        return twin.SerializeToString(deterministic=True)
    if kind is RecordKind.DEVICE:
        device, known = registry_pb2.StoredDevice.FromString(data), registry_pb2.StoredDevice.FromString(here)
        if known.state == registry_pb2.DEVICE_STATE_RETIRED:
            device.state = known.state
        if known.HasField("revoke_time") and device.revoke_time.ToNanoseconds() < known.revoke_time.ToNanoseconds():
            device.revoke_time.CopyFrom(known.revoke_time)
        return device.SerializeToString(deterministic=True)
    return data


def _kept(kind: RecordKind, key: str, revision: int, data: bytes) -> Kept:
    return Kept(kind, key, data, revision)
