"""The port BackupStore on the registry's key-value buckets.

A backup reads each bucket's stream up to its end at the moment when reading has caught up; writers continue meanwhile.
Contracts are read first and sent after the bodies and documents that they refer to, which are always written earlier.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass, replace
from pathlib import Path

from google.protobuf.message import Message
from nats.aio.client import Client
from nats.js import JetStreamContext

from services.chassis import buckets, records
from services.chassis.kv import Bucket, BucketSpec
from services.chassis.nats import convert_errors
from services.chassis.streams import Record, last_sequence, read
from services.registry.adapters.spool import Spool
from services.registry.service.backup import RecordKind, StoredRecord
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
_MESSAGES: dict[RecordKind, type[Message]] = {
    RecordKind.CONTRACT_BODY: registry_pb2.StoredContractBody,
    RecordKind.TWIN_DESIRED: twin_pb2.StoredTwin,
    RecordKind.TWIN_REPORTED: twin_pb2.StoredTwin,
    RecordKind.GROUP: registry_pb2.StoredGroup,
    RecordKind.CONTRACT: registry_pb2.StoredContract,
    RecordKind.DEVICE: registry_pb2.StoredDevice,
}
_REQUEST_TIMEOUT_S = 5.0
"""Timeout of one request, in seconds."""


@dataclass(frozen=True, slots=True)
class KvBackup:
    """`folder` is for temporary files, as large as the largest bucket."""

    js: JetStreamContext
    client: Client
    folder: Path
    buckets: dict[RecordKind, Bucket]

    @classmethod
    async def open(cls, js: JetStreamContext, client: Client, folder: Path) -> KvBackup:
        """Open the buckets; create missing ones."""
        return cls(js, client, folder, {kind: await Bucket.create(js, spec) for kind, spec in _SPECS.items()})

    async def read(self) -> AsyncGenerator[tuple[StoredRecord, int], None]:
        """Yield every record once, in the order of RecordKind, with the number of records when it began."""
        with closing(Spool(self.folder)) as contracts:
            await self._spool(RecordKind.CONTRACT, contracts)
            total = await contracts.count()
            total += sum([await self._subjects(kind) for kind in RecordKind if kind is not RecordKind.CONTRACT])
            for kind in RecordKind:
                if kind is RecordKind.CONTRACT:
                    async for row in contracts.rows():
                        yield _stored(kind, *row), total
                    continue
                with closing(Spool(self.folder)) as spool:
                    await self._spool(kind, spool)
                    async for row in spool.rows():
                        yield _stored(kind, *row), total

    async def _spool(self, kind: RecordKind, spool: Spool) -> None:
        """Read until it has caught up once, then to the end of the stream at that moment: writers may never pause."""
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
        with convert_errors(f"stream {stream}"):
            answer = await self.client.request(f"$JS.API.STREAM.INFO.{stream}", timeout=_REQUEST_TIMEOUT_S)
        return int(json.loads(answer.data).get("state", {}).get("num_subjects", 0))

    async def get(self, kind: RecordKind, key: str) -> tuple[StoredRecord, int] | None:
        """Return the record, of a contract the current revision, and its sequence; or None."""
        entry = await self.buckets[kind].get(key)
        if entry is None:
            return None
        if message := _MESSAGES.get(kind):
            records.decode(_SPECS[kind].name, key, entry.value, message.FromString)
        found = _stored(kind, key, _revision(kind, entry.value), _portable(kind, entry.value))
        return replace(found, from_device=_from_device(kind, entry.value)), entry.revision

    async def revisions(self, device_id: str) -> dict[int, bytes]:
        """Return the records of a contract by revision, without those that later writes have replaced
        (`model.revisions`).
        """
        spec, found = buckets.CONTRACTS, dict[int, bytes]()
        async for batch in read(self.js, spec.stream, [spec.subject(device_id)]):
            for record in batch:
                if not record.deleted:
                    revision = _revision(RecordKind.CONTRACT, record.data)
                    found = {known: data for known, data in found.items() if known < revision} | {revision: record.data}
        return found

    async def create(self, record: StoredRecord) -> int:
        """Write a new record; return its sequence. Raises RevisionConflictError if it exists."""
        return await self.buckets[record.kind].create_key(record.key, record.data)

    async def replace(self, record: StoredRecord, sequence: int) -> int:
        """Write on top of the sequence that `get` returned; return the new one. Raises RevisionConflictError."""
        return await self.buckets[record.kind].update(record.key, record.data, sequence)

    def merged(self, record: StoredRecord, existing: StoredRecord) -> StoredRecord:
        """Return the result of overwriting `existing` with `record`; `existing` itself if that changes nothing."""
        if existing.from_device:
            return existing
        data = _MERGES.get(record.kind, _prefer_backup)(existing.data, record.data)
        return existing if data == existing.data else replace(record, data=data, revision=_revision(record.kind, data))


def _row(kind: RecordKind, spec: BucketSpec, record: Record) -> tuple[str, int, bytes | None]:
    key = record.subject.removeprefix(spec.subject(""))
    message = _MESSAGES.get(kind)
    if record.deleted or (message and records.try_decode(spec.name, key, record.data, message.FromString) is None):
        return key, 0, None
    return key, _revision(kind, record.data), _portable(kind, record.data)


def _revision(kind: RecordKind, data: bytes) -> int:
    return registry_pb2.StoredContract.FromString(data).revision if kind is RecordKind.CONTRACT else 0


def _from_device(kind: RecordKind, data: bytes) -> bool:
    return kind is RecordKind.TWIN_REPORTED and twin_pb2.StoredTwin.FromString(data).session_epoch > 0


def _portable(kind: RecordKind, data: bytes) -> bytes:
    """Remove fields that have a meaning only in this mesh: session epochs, and the revisions that were sent."""
    if kind is not RecordKind.TWIN_REPORTED:
        return data
    twin = twin_pb2.StoredTwin.FromString(data)
    twin.session_epoch = 0
    for one in twin.properties:
        one.settled_revision = 0
    return twin.SerializeToString(deterministic=True)


def _prefer_backup(here: bytes, data: bytes) -> bytes:
    return data


def _merged_twin(here: bytes, data: bytes) -> bytes:
    """Write differences under a new revision: a bridge sends everything after the last one that it has sent."""
    known, twin = twin_pb2.StoredTwin.FromString(here), twin_pb2.StoredTwin.FromString(data)
    kept = {(one.capability_id, one.property): one for one in known.properties}
    twin.revision = max(known.revision + 1, twin.revision)
    changed = len(kept) != len(twin.properties)
    for one in twin.properties:
        before = kept.get((one.capability_id, one.property))
        if before is not None and before.value == one.value:
            one.CopyFrom(before)
        else:
            one.revision, changed = twin.revision, True
    return twin.SerializeToString(deterministic=True) if changed else here


def _merged_contract(here: bytes, data: bytes) -> bytes:
    known, contract = registry_pb2.StoredContract.FromString(here), registry_pb2.StoredContract.FromString(data)
    revision = max(known.revision + 1, contract.revision)
    contract.revision = known.revision
    if contract == known:
        return here
    contract.revision = revision
    return contract.SerializeToString(deterministic=True)


def _merged_device(here: bytes, data: bytes) -> bytes:
    """Keep revocation and retirement, whatever the backup has."""
    known, device = registry_pb2.StoredDevice.FromString(here), registry_pb2.StoredDevice.FromString(data)
    if known.state == registry_pb2.DEVICE_STATE_RETIRED:
        device.state = known.state
    if known.HasField("revoke_time") and device.revoke_time.ToNanoseconds() < known.revoke_time.ToNanoseconds():
        device.revoke_time.CopyFrom(known.revoke_time)
    return device.SerializeToString(deterministic=True)


_MERGES: Mapping[RecordKind, Callable[[bytes, bytes], bytes]] = {
    RecordKind.TWIN_DESIRED: _merged_twin,
    RecordKind.TWIN_REPORTED: _merged_twin,
    RecordKind.CONTRACT: _merged_contract,
    RecordKind.DEVICE: _merged_device,
}


def _stored(kind: RecordKind, key: str, revision: int, data: bytes) -> StoredRecord:
    return StoredRecord(kind, key, data, revision)
