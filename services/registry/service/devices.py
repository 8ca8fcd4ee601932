"""Devices: making them known, changing, finding and watching them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from services.chassis import buckets
from services.chassis.errors import RevisionConflictError
from services.domain import ids
from services.registry import model
from services.registry.errors import DeviceExistsError, DeviceNotFoundError, StaleRevisionError
from services.registry.model import DeviceRecord, DeviceState, DeviceView
from services.registry.ports import Clock, DeviceStore, Index, Query

_TRIES = 8


@dataclass(frozen=True, slots=True)
class Devices:
    """Use cases. Reads come from the index; every write waits until the index has it."""

    store: DeviceStore
    index: Index
    clock: Clock

    async def register(self, device_id: str, labels: Mapping[str, str], state: DeviceState) -> DeviceView:
        """Makes a device known. Raises DeviceExistsError."""
        record = DeviceRecord(ids.device_id(device_id), state, self.clock.now(), ids.labels(labels))
        try:
            record = await self.store.create(record)
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
            record = await self.store.get(device_id)
            if record is None:
                raise DeviceNotFoundError(device_id)
            if revision and revision != record.revision:
                raise StaleRevisionError(device_id, revision, record.revision)
            try:
                stored = await self.store.update(model.changed(record, state, labels))
            except RevisionConflictError:
                continue  # read again; a caller who named a revision is told above
            await self.index.reached(buckets.DEVICES.name, stored.revision)
            return await self.get(device_id)
        raise RevisionConflictError(f"{device_id} is being written too often", hint="Try again.")

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
