"""Single devices: registering, reading and changing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.chassis import buckets
from services.chassis.errors import RevisionConflictError
from services.domain import ids
from services.registry import model
from services.registry.errors import DeviceExistsError, DeviceNotFoundError, StaleRevisionError
from services.registry.model import DeviceRecord, DeviceState, DeviceView
from services.registry.ports import Clock, DeviceStore, Index

_MAX_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Devices:
    """Use cases. Reads come from the index; every write waits until the index has applied it."""

    store: DeviceStore
    index: Index
    clock: Clock

    async def register(self, device_id: str, labels: Mapping[str, str], state: DeviceState) -> DeviceView:
        """Register a device. Raises DeviceExistsError."""
        record = DeviceRecord(ids.device_id(device_id), state, self.clock.now(), ids.labels(labels))
        try:
            record = await self.store.create(record)
        except RevisionConflictError as e:
            raise DeviceExistsError(device_id) from e
        return await self._shown(record)

    async def get(self, device_id: str) -> DeviceView:
        """Return a device. Raises DeviceNotFoundError."""
        view = await self.index.get(ids.device_id(device_id))
        if view is None:
            raise DeviceNotFoundError(device_id)
        return view

    async def update(
        self, device_id: str, revision: int, state: DeviceState | None, labels: Mapping[str, str]
    ) -> DeviceView:
        """Change state or labels; `revision` 0 means any. Raises StaleRevisionError, TransitionError."""
        ids.device_id(device_id)
        for _ in range(_MAX_ATTEMPTS):
            record = await self.store.get(device_id)
            if record is None:
                raise DeviceNotFoundError(device_id)
            if revision and revision != record.revision:
                raise StaleRevisionError(device_id, revision, record.revision)
            try:
                stored = await self.store.update(model.with_changes(record, state, labels))
            except RevisionConflictError:
                continue  # retried; a caller that passed a revision gets the error above
            return await self._shown(stored)
        raise RevisionConflictError(f"{device_id} has too many concurrent writes", hint="Try again.")

    async def _shown(self, record: DeviceRecord) -> DeviceView:
        """Return the device with the written record, even if the index has not applied it in time."""
        await self.index.reached(buckets.DEVICES.name, record.revision)
        view = await self.index.get(record.id)
        return DeviceView(record) if view is None else replace(view, record=record)
