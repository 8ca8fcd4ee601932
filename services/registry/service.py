"""What the registry does, apart from how it is asked and where it is kept."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from services.chassis import buckets
from services.chassis.errors import RevisionConflictError
from services.domain import capability, ids
from services.domain.contract import Changes, Contract, compare
from services.domain.errors import InvalidRequestError
from services.registry import model
from services.registry.errors import (
    DeviceExistsError,
    DeviceNotActiveError,
    DeviceNotFoundError,
    DocumentUnknownError,
    NoContractError,
    StaleRevisionError,
)
from services.registry.model import Build, DeviceRecord, DeviceState, DeviceView
from services.registry.ports import Clock, ContractStore, DeviceStore, Index, Query

MAX_DOCUMENT_BYTES = 16 * 1024
_TRIES = 8


@dataclass(frozen=True, slots=True)
class Registry:
    """Use cases. Reads come from the index; every write waits until the index has it."""

    devices: DeviceStore
    contracts: ContractStore
    index: Index
    clock: Clock

    async def register(self, device_id: str, labels: Mapping[str, str], state: DeviceState) -> DeviceView:
        """Makes a device known. Raises DeviceExistsError."""
        record = DeviceRecord(ids.device_id(device_id), state, self.clock.now(), ids.labels(labels))
        try:
            record = await self.devices.create(record)
        except RevisionConflictError as e:
            raise DeviceExistsError(device_id) from e
        await self.index.reached(buckets.DEVICES.name, record.revision)
        return await self.get(device_id)

    async def get(self, device_id: str) -> DeviceView:
        """One device. Raises DeviceNotFoundError."""
        view = await self.index.get(ids.device_id(device_id))
        if view is None:
            raise DeviceNotFoundError(device_id)
        return view

    async def find(self, query: Query) -> tuple[Sequence[DeviceView], bool]:
        """A page of devices and whether there are more."""
        found = await self.index.find(replace(query, limit=query.limit + 1))
        return found[: query.limit], len(found) > query.limit

    async def update(
        self, device_id: str, revision: int, state: DeviceState | None, labels: Mapping[str, str]
    ) -> DeviceView:
        """Changes state or labels; `revision` 0 means any. Raises StaleRevisionError, TransitionError."""
        ids.device_id(device_id)
        for _ in range(_TRIES):
            record = await self.devices.get(device_id)
            if record is None:
                raise DeviceNotFoundError(device_id)
            if revision and revision != record.revision:
                raise StaleRevisionError(device_id, revision, record.revision)
            try:
                stored = await self.devices.update(model.changed(record, state, labels))
            except RevisionConflictError:
                continue  # read again; a caller who named a revision is told above
            await self.index.reached(buckets.DEVICES.name, stored.revision)
            return await self.get(device_id)
        raise RevisionConflictError(f"{device_id} is being written too often", hint="Try again.")

    async def contract(self, device_id: str) -> Contract:
        """The current contract. Raises NoContractError, DeviceNotFoundError."""
        record = await self.contracts.get(ids.device_id(device_id))
        if record is not None:
            return record.contract
        await self.get(device_id)
        raise NoContractError(device_id)

    async def document(self, digest: str) -> bytes:
        """A capability document. Raises DocumentUnknownError."""
        document = await self.contracts.document(ids.digest(digest))
        if document is None:
            raise DocumentUnknownError(digest)
        return document

    async def record(self, contract: Contract, document: bytes, build: Build) -> tuple[Contract, Changes | None]:
        """Stores what was negotiated; returns the contract as stored and, for a new revision, how it differs.

        Raises DeviceNotActiveError, DocumentUnknownError, InvalidRequestError.
        """
        ids.device_id(contract.device_id)
        for offered in contract.capabilities:
            capability.check(offered)
        await self._keep_document(ids.digest(contract.document_digest), document)
        await self._admit(contract.device_id)
        contract = replace(contract, digest=self.contracts.digest(contract))
        for _ in range(_TRIES):
            old = await self.contracts.get(contract.device_id)
            new = model.agreed(old, contract, build, self.clock.now())
            if old is not None and new == old:
                return new.contract, None
            try:
                stored = await self.contracts.put(new)
            except RevisionConflictError:
                continue
            await self.index.reached(buckets.CONTRACTS.name, stored.key_revision)
            before = old.contract if old else None
            same = before is not None and before.revision == stored.contract.revision
            return stored.contract, None if same else compare(before, stored.contract)
        raise RevisionConflictError(
            f"the contract of {contract.device_id} is being written too often", hint="Try again."
        )

    async def _keep_document(self, digest: str, document: bytes) -> None:
        if not document:
            if await self.contracts.document(digest) is None:
                raise DocumentUnknownError(digest)
            return
        if len(document) > MAX_DOCUMENT_BYTES:
            raise InvalidRequestError(
                f"the document is {len(document)} bytes, at most {MAX_DOCUMENT_BYTES} are allowed"
            )
        if hashlib.sha256(document).hexdigest() != digest:
            raise InvalidRequestError("the document's SHA-256 is not document_digest")
        await self.contracts.put_document(digest, document)

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

    async def watch(self, device_ids: Collection[str], changes_only: bool) -> AsyncIterator[DeviceView | None]:
        """Every device as it is, then None once, then each that changes. `device_ids` empty means all."""
        wanted = {ids.device_id(device_id) for device_id in device_ids}
        changes = self.index.changes()
        if not changes_only:
            async for view in self._all(wanted):
                yield view
        yield None
        async for changed in changes:
            for device_id in changed:
                if wanted and device_id not in wanted:
                    continue
                current = await self.index.get(device_id)
                if current is not None:
                    yield current

    async def _all(self, wanted: Collection[str]) -> AsyncIterator[DeviceView]:
        if wanted:
            for device_id in sorted(wanted):
                one = await self.index.get(device_id)
                if one is not None:
                    yield one
            return
        after, more = "", True
        while more:
            page, more = await self.find(Query(after=after, limit=500))
            for view in page:
                yield view
            after = page[-1].record.id if page else after
