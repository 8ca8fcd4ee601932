"""Authoritative devices and contracts in JetStream key-value buckets, with compare-and-set on each key."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from nats.js import JetStreamContext

from services.chassis import buckets
from services.chassis import records as quarantine
from services.chassis.errors import RevisionConflictError
from services.chassis.kv import Bucket
from services.chassis.streams import last_sequence, read
from services.domain.contract import Contract
from services.registry.adapters import records
from services.registry.model import ContractRecord, DeviceRecord
from yggdrasil.registry.v1.registry_pb2 import StoredContract

MAX_CACHED_BODIES = 1024
"""Bodies that are cached, as bytes."""


class KvDeviceStore:
    """The port DeviceStore."""

    def __init__(self, bucket: Bucket, js: JetStreamContext) -> None:
        self._bucket, self._js = bucket, js

    @classmethod
    async def open(cls, js: JetStreamContext) -> KvDeviceStore:
        """Open the bucket; create it if it is missing."""
        return cls(await Bucket.create(js, buckets.DEVICES), js)

    async def get(self, device_id: str) -> DeviceRecord | None:
        """Return the record, or None."""
        entry = await self._bucket.get(device_id)
        if entry is None:
            return None
        read = records.device_from_bytes
        return quarantine.decode(buckets.DEVICES.name, device_id, entry.value, lambda data: read(data, entry.revision))

    async def create(self, record: DeviceRecord) -> DeviceRecord:
        """Store a new record; raises RevisionConflictError if it exists."""
        revision = await self._bucket.create_key(record.id, records.device_to_bytes(record))
        return replace(record, revision=revision)

    async def update(self, record: DeviceRecord) -> DeviceRecord:
        """Store a change; raises RevisionConflictError if `record.revision` is not the current one."""
        revision = await self._bucket.update(record.id, records.device_to_bytes(record), record.revision)
        return replace(record, revision=revision)

    async def remove(self, record: DeviceRecord) -> int:
        """Delete the record; raises RevisionConflictError if `record.revision` is not the current one."""
        await self._bucket.delete(record.id, record.revision)
        return await last_sequence(self._js, buckets.DEVICES.stream)


class KvContractStore:
    """The port ContractStore. Bodies and documents are content-addressed, so writing them is idempotent."""

    def __init__(self, js: JetStreamContext, contracts: Bucket, bodies: Bucket, documents: Bucket) -> None:
        self._js, self._contracts, self._bodies, self._documents = js, contracts, bodies, documents
        self._cache: OrderedDict[str, bytes] = OrderedDict()

    @classmethod
    async def open(cls, js: JetStreamContext) -> KvContractStore:
        """Open the buckets; create missing ones."""
        return cls(
            js,
            await Bucket.create(js, buckets.CONTRACTS),
            await Bucket.create(js, buckets.CONTRACT_BODIES),
            await Bucket.create(js, buckets.DOCUMENTS),
        )

    async def get(self, device_id: str) -> ContractRecord | None:
        """Return the current contract, or None."""
        entry = await self._contracts.get(device_id)
        if entry is None:
            return None
        return await self._record(device_id, entry.value, entry.revision)

    async def history(self, device_id: str) -> Sequence[ContractRecord]:
        """Return every retained write of the device's contract, oldest first."""
        spec = buckets.CONTRACTS
        batches = read(self._js, spec.stream, [spec.subject(device_id)])
        writes = [record async for batch in batches for record in batch if not record.deleted]
        return [await self._record(device_id, write.data, write.sequence) for write in writes]

    async def _record(self, key: str, data: bytes, revision: int) -> ContractRecord:
        name = buckets.CONTRACTS.name
        stored = quarantine.decode(name, key, data, StoredContract.FromString)
        body = await self._body(stored.digest)
        return quarantine.decode(name, key, data, lambda found: records.contract_from_bytes(found, body, revision))

    async def _body(self, digest: str) -> bytes:
        """Return a body by its digest; as it never changes, the last MAX_CACHED_BODIES are cached."""
        body = self._cache.get(digest)
        if body is None:
            entry = await self._bodies.get(digest)
            if entry is None:
                raise RuntimeError(f"contract body {digest} is missing; it is written before any contract names it")
            body = self._cache[digest] = entry.value
        self._cache.move_to_end(digest)
        while len(self._cache) > MAX_CACHED_BODIES:
            self._cache.popitem(last=False)
        return body

    async def put(self, record: ContractRecord) -> ContractRecord:
        """Write the body, then the contract, so that no contract ever refers to a missing body."""
        await self._put_once(self._bodies, record.contract.digest, records.body_to_bytes(record.contract))
        key, value = record.contract.device_id, records.contract_to_bytes(record)
        if record.key_revision:
            revision = await self._contracts.update(key, value, record.key_revision)
        else:
            revision = await self._contracts.create_key(key, value)
        return replace(record, key_revision=revision)

    def digest(self, contract: Contract) -> str:
        """Return the SHA-256 of the body, lower-case hex."""
        return records.body_digest(records.body_to_bytes(contract))

    async def document(self, digest: str) -> bytes | None:
        """Return the document with that digest, or None."""
        entry = await self._documents.get(digest)
        return None if entry is None else entry.value

    async def put_document(self, digest: str, document: bytes) -> None:
        """Store a document under its digest."""
        await self._put_once(self._documents, digest, document)

    async def _put_once(self, bucket: Bucket, key: str, value: bytes) -> None:
        if await bucket.get(key) is None:
            try:
                await bucket.create_key(key, value)
            except RevisionConflictError:
                return  # another writer stored the same bytes
