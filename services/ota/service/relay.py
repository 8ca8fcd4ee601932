"""Reports of devices, relayed by bridges: stores them and returns the response to the device.

The bridge is only a carrier. Its reports decide the status shown and the progress of rollouts; the device alone decides
what it installs, from signatures that neither the bridge nor this service can make.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from services.domain import ids, trust
from services.domain.trust import Delta
from services.ota.errors import NoRootError
from services.ota.model import release as fitness
from services.ota.model import update as rules
from services.ota.model.release import Release
from services.ota.model.rollout import Rollout, RolloutState
from services.ota.model.update import Device, LastUpdate, OtaStatus, Outcome, Reason, Stage, State, Update
from services.ota.ports import Events, Table
from services.ota.service.deltas import Deltas
from services.ota.service.releases import Clock, Releases
from services.ota.service.table import edit

_TAKES_OFFERS = (State.IDLE, State.PARTIAL, State.SAFE_MODE)


@dataclass(frozen=True, slots=True)
class Offer:
    """An update, ready to be relayed; envelopes as bytes."""

    update_id: int
    delta: Delta | None
    roots: list[bytes]
    timestamp: bytes
    release: Release


@dataclass(frozen=True, slots=True)
class Response:
    """The response to a device: an offer, or an update to abort."""

    offer: Offer | None = None
    abort: int = 0


NO_ACTION = Response()


class Relay:
    """Reports for the table of devices."""

    def __init__(
        self,
        devices: Table[Device],
        rollouts: Table[Rollout],
        releases: Releases,
        deltas: Deltas,
        events: Events,
        now: Clock,
    ) -> None:
        self._devices, self._rollouts, self._releases, self._deltas = devices, rollouts, releases, deltas
        self._events, self._now = events, now

    async def status(self, device_id: str, status: OtaStatus, last_update: LastUpdate, nonce: bytes) -> Response:
        """Process OtaStatus, sent when no download is active; return an offer if one is due."""
        before = await self._change(device_id, lambda d: rules.after_status(d, status, last_update, self._image(d)))
        update = before.update
        if update is None or not update.stage.stoppable:
            return NO_ACTION
        if why := self._withdrawn(update):
            before = await self._change(device_id, lambda d: rules.stopping(d, why))
        if before.update is None or before.update.stop or not before.update.stage.stoppable:
            if status.state is not State.INSTALLED:
                await self._change(device_id, rules.stopped)
            return Response(abort=update.id)
        if status.state not in _TAKES_OFFERS:
            return NO_ACTION
        return await self._offer(before, nonce)

    def _withdrawn(self, update: Update) -> str:
        """Return why the rollout no longer wants the update, or "".

        The conductor also stops devices, but may lag: no offer is made for a rollout that a user has ended.
        """
        row = self._rollouts.get(update.rollout_id)
        state = row.value.state if row else None
        return f"the rollout was {state.value}" if state in (RolloutState.ABORTED, RolloutState.HALTED) else ""

    async def accept(self, device_id: str, update_id: int, offset_bytes: int, *, delta: bool) -> Response:
        """Process OtaAccept."""
        return await self._during_download(
            device_id, update_id, lambda d: rules.after_accept(d, update_id, offset_bytes, delta=delta)
        )

    async def reject(self, device_id: str, update_id: int, reason: Reason, text: str) -> Response:
        """Process OtaReject."""
        text = ids.printable(text, 63)
        return _stop(await self._change(device_id, lambda d: rules.after_reject(d, update_id, reason, text)))

    async def progress(self, device_id: str, update_id: int, written_bytes: int) -> Response:
        """Process OtaProgress."""
        return await self._during_download(
            device_id, update_id, lambda d: rules.after_progress(d, update_id, written_bytes)
        )

    async def result(self, device_id: str, update_id: int, outcome: Outcome, reason: Reason, text: str) -> Response:
        """Process OtaResult."""
        text = ids.printable(text, 63)
        return _stop(await self._change(device_id, lambda d: rules.after_result(d, update_id, outcome, reason, text)))

    async def _during_download(self, device_id: str, update_id: int, change: Callable[[Device], Device]) -> Response:
        """Process a report during a download; abort an update that has ended here."""
        device = await self._change(device_id, change)
        if device.update is None or device.update.id != update_id:  # another replica may have changed it
            await self._devices.fresh(ids.device_id(device_id))
            device = await self._change(device_id, change)
        update = device.update
        current = update is not None and update.id == update_id and update.stage.active
        return _stop(device) if current else Response(abort=update_id)

    async def _offer(self, device: Device, nonce: bytes) -> Response:
        update = device.update
        if update is None:
            return NO_ACTION
        try:
            if not self._releases.delegated:
                return NO_ACTION  # not the device's fault: the offer waits for a root that delegates the key
            release = self._releases.get(update.release_id)
            self._releases.check_offerable(release)
            self._check_root(device.status)
            if why := fitness.unfit(release, device.status, self._releases.floor(release.manifest.device_class)):
                raise trust.TrustError(why)
        except (trust.TrustError, NoRootError) as e:
            why = e.message
            await self._change(device.device_id, lambda d: rules.failed(d, why))
            return NO_ACTION
        delta, settled = (None, True) if update.full_only else await self._deltas.find(device.status, release)
        if not settled:
            return NO_ACTION  # retried at the conductor's next wake-up
        older = release.manifest.sequence < device.status.sequence
        stamp = self._releases.stamp(device.device_id, nonce, release, older=older)
        size = delta.patch_size_bytes if delta else release.manifest.image_size_bytes
        device = await self._change(device.device_id, lambda d: _offered(d, update.id, size))
        now = device.update
        if now is None or now.id != update.id or now.stop or not now.stage.stoppable:
            return NO_ACTION  # stopped concurrently
        roots = self._releases.roots_after(device.status.root_version)
        return Response(Offer(update.id, delta, roots, stamp, release))

    def _check_root(self, status: OtaStatus) -> None:
        """Raise TrustError if the device has a newer root than the service: nothing here can be valid for it."""
        root = self._releases.root()
        if status.root_version > root.version:
            raise trust.TrustError(f"the device has root {status.root_version}, the service has {root.version}")

    def _image(self, device: Device) -> str:
        release = self._releases.find(device.update.release_id) if device.update else None
        return release.image_sha256 if release else ""

    async def _change(self, device_id: str, change: Callable[[Device], Device]) -> Device:
        before, after = await edit(self._devices, ids.device_id(device_id), lambda: Device(device_id), change)
        if after.update and before.update and after.update.stage is not before.update.stage:
            update = after.update
            await self._events.publish(update.rollout_id, update.stage.value, device_id, update.why)
        return after


def _stop(device: Device) -> Response:
    update = device.update
    return Response(abort=update.id) if update and update.stop and update.stage.stoppable else NO_ACTION


def _offered(device: Device, update_id: int, size: int) -> Device:
    update = device.update
    if update is None or update.id != update_id or update.stop or not update.stage.stoppable:
        return device
    return replace(device, update=replace(update, stage=Stage.OFFERED, size_bytes=size))
