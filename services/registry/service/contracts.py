"""Contracts of devices, and their capability documents."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from services.chassis import buckets
from services.chassis.errors import RevisionConflictError
from services.domain import capability, ids, thing
from services.domain.contract import Changes, Contract, compare
from services.domain.differences import differences
from services.domain.errors import InvalidRequestError
from services.registry import model
from services.registry.errors import (
    DeviceNotActiveError,
    DeviceNotFoundError,
    DocumentUnknownError,
    NoContractError,
    RevisionUnknownError,
)
from services.registry.model import Build, ContractRecord, DeviceRecord, DeviceState
from services.registry.ports import Clock, ContractStore, DeviceStore, Index

MAX_DOCUMENT_BYTES = 16 * 1024
_EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()
"""Digest of a document without capabilities, which has no bytes."""
_MAX_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two revisions of a contract and their differences: by capability, and in words."""

    old: Contract
    new: Contract

    @property
    def changes(self) -> Changes:
        """Return the differences by capability."""
        return compare(self.old, self.new)

    @property
    def differences(self) -> list[str]:
        """Return the differences in words."""
        return differences(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Contracts:
    """Use cases. Every write waits until the index has applied it."""

    devices: DeviceStore
    store: ContractStore
    index: Index
    clock: Clock

    async def contract(self, device_id: str, revision: int = 0) -> Contract:
        """Return the current contract, or an earlier revision.

        Raises NoContractError, DeviceNotFoundError, RevisionUnknownError.
        """
        record = await self.store.get(ids.device_id(device_id))
        if record is None or await self.devices.get(device_id) is None:
            raise await self._without(device_id)
        if revision in (0, record.contract.revision):
            return record.contract
        return _at(await self.revisions(device_id), revision).contract

    async def revisions(self, device_id: str) -> list[ContractRecord]:
        """Return every retained revision, ascending. Raises NoContractError, DeviceNotFoundError."""
        found = model.revisions(await self.store.history(ids.device_id(device_id)))
        if not found or await self.devices.get(device_id) is None:
            raise await self._without(device_id)
        return found

    async def compared(self, device_id: str, old: int, new: int) -> Comparison:
        """Return two revisions; `new` 0 is the current one, `old` 0 the one before `new`.

        Raises NoContractError, DeviceNotFoundError, RevisionUnknownError, InvalidRequestError.
        """
        kept = await self.revisions(device_id)
        after = _at(kept, new or kept[-1].contract.revision).contract
        if old > after.revision:
            raise InvalidRequestError(
                f"from is revision {old}, which is later than {after.revision}", hint="Give the older one first."
            )
        return Comparison(_at(kept, old or after.revision - 1).contract, after)

    async def thing(self, device_id: str) -> dict[str, thing.Json]:
        """Return the W3C Thing Description of a device. Raises NoContractError, DeviceNotFoundError."""
        record, device = await self.store.get(ids.device_id(device_id)), await self.devices.get(device_id)
        if record is None or device is None:
            raise await self._without(device_id)
        build = record.build
        facts = thing.Facts(device.create_time, build.model, build.device_class, build.firmware_version)
        return thing.describe(record.contract, facts)

    async def _without(self, device_id: str) -> DeviceNotFoundError | NoContractError:
        known = await self.devices.get(device_id) is not None
        return NoContractError(device_id) if known else DeviceNotFoundError(device_id)

    async def document(self, digest: str) -> bytes:
        """Return a capability document. Raises DocumentUnknownError."""
        document = await self.store.document(ids.digest(digest, "digest"))
        if document is None:
            raise DocumentUnknownError(digest)
        return document

    async def record(self, contract: Contract, document: bytes, build: Build) -> tuple[Contract, Changes | None]:
        """Store a negotiated contract; return it as stored and, for a new revision, its changes.

        Raises DeviceNotActiveError, DocumentUnknownError, InvalidRequestError.
        """
        ids.device_id(contract.device_id)
        for offered in contract.capabilities:
            capability.check(offered)
        await self._keep_document(ids.digest(contract.document_digest, "contract.document_digest"), document)
        await self._admit(contract.device_id)
        contract = replace(contract, digest=self.store.digest(contract))
        for _ in range(_MAX_ATTEMPTS):
            old = await self.store.get(contract.device_id)
            new = model.next_record(old, contract, build, self.clock.now())
            if old is not None and new == old:
                return new.contract, None
            try:
                stored = await self.store.put(new)
            except RevisionConflictError:
                continue
            await self.index.reached(buckets.CONTRACTS.name, stored.key_revision)
            before = old.contract if old else None
            same = before is not None and before.revision == stored.contract.revision
            return stored.contract, None if same else compare(before, stored.contract)
        raise RevisionConflictError(
            f"the contract of {contract.device_id} has too many concurrent writes", hint="Try again."
        )

    async def _keep_document(self, digest: str, document: bytes) -> None:
        if not document and digest != _EMPTY_DIGEST:
            if await self.store.document(digest) is None:
                raise DocumentUnknownError(digest)
            return
        if len(document) > MAX_DOCUMENT_BYTES:
            raise InvalidRequestError(
                f"the document is {len(document)} bytes, at most {MAX_DOCUMENT_BYTES} are allowed"
            )
        if hashlib.sha256(document).hexdigest() != digest:
            raise InvalidRequestError("the document's SHA-256 is not document_digest", field="document")
        await self.store.put_document(digest, document)

    async def _admit(self, device_id: str) -> None:
        record = await self.devices.get(device_id)
        if record is None:
            try:
                stored = await self.devices.create(DeviceRecord(device_id, DeviceState.ACTIVE, self.clock.now()))
            except RevisionConflictError:
                return await self._admit(device_id)
            await self.index.reached(buckets.DEVICES.name, stored.revision)
        elif record.state is not DeviceState.ACTIVE:
            raise DeviceNotActiveError(device_id, record.state.value)
        return None


def _at(kept: list[ContractRecord], revision: int) -> ContractRecord:
    for record in kept:
        if record.contract.revision == revision:
            return record
    contract = kept[-1].contract
    raise RevisionUnknownError(contract.device_id, revision, kept[0].contract.revision, contract.revision)
