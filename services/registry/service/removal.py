"""Removal of a device. The revisions of its contract and twin, which only grow, stay stored under its id."""

from __future__ import annotations

from dataclasses import dataclass

from services.chassis import buckets
from services.chassis.errors import RevisionConflictError
from services.domain import ids, twin
from services.registry.errors import DeviceKeptOutError, DeviceNotFoundError, DeviceOnlineError, StaleRevisionError
from services.registry.model import DeviceRecord, DeviceState, TwinSide
from services.registry.ports import Clock, Index, RemovableDevices, TwinStore

_MAX_ATTEMPTS = 8
_BLOCKED_STATES = (DeviceState.SUSPENDED, DeviceState.RETIRED)


@dataclass(frozen=True, slots=True)
class Removal:
    """Use case. Idempotent after a failure."""

    devices: RemovableDevices
    twins: TwinStore
    index: Index
    clock: Clock

    async def remove(self, device_id: str, revision: int, author: str, *, readmit: bool) -> None:
        """Delete a device; `revision` 0 means any.

        Raises DeviceNotFoundError, DeviceOnlineError, DeviceKeptOutError, StaleRevisionError.
        """
        ids.device_id(device_id)
        for _ in range(_MAX_ATTEMPTS):
            record = await self.devices.get(device_id)
            if record is None:
                raise DeviceNotFoundError(device_id)
            if revision and revision != record.revision:
                raise StaleRevisionError(device_id, revision, record.revision)
            await self._check(record, readmit=readmit)
            try:
                await self._clear(device_id, author)
                deleted_revision = await self.devices.remove(record)
            except RevisionConflictError:
                continue  # retried; a caller that passed a revision gets the error above
            await self.index.reached(buckets.DEVICES.name, deleted_revision)
            return
        raise RevisionConflictError(f"{device_id} has too many concurrent writes", hint="Try again.")

    async def _check(self, record: DeviceRecord, *, readmit: bool) -> None:
        view = await self.index.get(record.id)
        if view is not None and view.presence.online:
            raise DeviceOnlineError(record.id)
        if readmit:
            return
        if record.state in _BLOCKED_STATES:
            raise DeviceKeptOutError(record.id, f"is {record.state.value}")
        if record.revoke_time is not None:
            raise DeviceKeptOutError(record.id, "has revoked certificates")

    async def _clear(self, device_id: str, author: str) -> None:
        """Clear the desired side, so that the next device with this id starts with an empty twin."""
        old = await self.twins.get(TwinSide.DESIRED, device_id)
        new = twin.desire(old.side, twin.Patch({}), replacing=True, now=self.clock.now(), author=author)
        if new is not old.side:
            await self.twins.put(TwinSide.DESIRED, device_id, new, old.key_revision)
