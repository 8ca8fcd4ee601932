"""The service ota without I/O: its use cases over stores in memory, and devices that tests speak for."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace
from typing import Any

from services.chassis import trust_codec
from services.ota.model import rollout as rules
from services.ota.model.release import Stored
from services.ota.model.rollout import Rollout, RolloutState, Spec
from services.ota.model.update import Device, LastUpdate, OtaStatus, Outcome, Reason, Stage, State, Update
from services.ota.ports import KnownDevice
from services.ota.service.conductor import Conductor
from services.ota.service.deltas import Deltas
from services.ota.service.fleet import LISTING_TTL_S, Fleet
from services.ota.service.relay import Relay, Response
from services.ota.service.releases import Releases
from services.ota.service.rollouts import Rollouts, View
from tests.fakes.objects import MemoryObjects
from tests.fakes.ota_keys import NOW, SLOT, Authority, image_of, manifest_of
from tests.fakes.ota_tables import (
    ItHasTheLease,
    KeySigner,
    MemoryArchive,
    MemoryRegistry,
    MemoryTable,
    NoEvents,
)
from tests.fixtures.images import chunked, header_of

CLASS = "sim-board"
IDLE = LastUpdate(0, Outcome.UNSPECIFIED, Reason.UNSPECIFIED)


class World:
    """One replica. The clock stands unless a test moves it, and the conductor works when a test says `rounds`."""

    def __init__(self) -> None:
        self.clock = float(NOW)
        self.authority, self.objects = Authority(), MemoryObjects()
        self.devices: MemoryTable[Device] = MemoryTable()
        self.table: MemoryTable[Rollout] = MemoryTable()
        self.registry, self.archive = MemoryRegistry(), MemoryArchive()
        stored: MemoryTable[Stored] = MemoryTable()
        events, signer = NoEvents(), KeySigner(self.authority.timestamp_key)
        self.releases = Releases(stored, self.objects, signer, self.now)
        deltas = Deltas(MemoryTable(), self.objects, _NoPatches(), lambda *_: None)
        self.fleet = Fleet(self.devices, self.table, self.registry, self.releases, self.archive, self.now)
        self.relay = Relay(self.devices, self.table, self.releases, deltas, events, self.now)
        self.rollouts = Rollouts(self.table, self.fleet, self.releases, events, self.now)
        self.conductor = Conductor(
            self.table, self.devices, self.fleet, events, ItHasTheLease(), self.releases, self.now
        )

    def now(self) -> float:
        """The clock."""
        return self.clock

    async def release(self, sequence: int, image: bytes = b"") -> str:
        """Releases an image, which is stored; returns the release's id."""
        data = image or image_of(f"v{sequence}")
        if self.releases.root_envelope()[0] == 0:
            root = trust_codec.envelope_bytes(self.authority.root_envelope())
            await self.releases.set_root(root, self.authority.root_sha256())
        await self.objects.put_stream(header_of(data), chunked(data))
        envelope = self.authority.release(manifest_of(data, sequence))
        return (await self.releases.create(trust_codec.envelope_bytes(envelope))).id

    async def device(self, name: str, zone: str = "hall", *, online: bool = True) -> None:
        """Registers a device that runs release 1."""
        self.registry.known[name] = KnownDevice(name, CLASS, online)
        self.registry.zones[name] = zone
        await self.says(name)

    def goes(self, name: str) -> None:
        """Its session ends."""
        self.registry.known[name] = replace(self.registry.known[name], online=False)

    async def comes(self, name: str, last: LastUpdate = IDLE, **status: Any) -> Response:
        """It has a session again, and reports its status."""
        self.registry.known[name] = replace(self.registry.known[name], online=True)
        return await self.says(name, last, **status)

    async def says(self, name: str, last: LastUpdate = IDLE, image: bytes = b"", **changes: Any) -> Response:
        """It reports its status; `image` is the running image."""
        status = OtaStatus(
            device_class=CLASS,
            rx_frame_bytes=4096,
            state=State.IDLE,
            image_sha256=hashlib.sha256(image or image_of("v1")).hexdigest(),
            image_size_bytes=len(image or image_of("v1")),
            sequence=1,
            security_counter=1,
            root_version=1,
            slot_size_bytes=SLOT,
        )
        return await self.relay.status(name, replace(status, **changes), last, secrets.token_bytes(16))

    async def loads(self, name: str) -> Update:
        """It accepts the offer and has half of the image."""
        offer = (await self.says(name)).offer
        assert offer is not None
        await self.relay.accept(name, offer.update_id, 0, delta=False)
        await self.relay.progress(name, offer.update_id, 2500)
        return self.update(name)

    async def confirms(self, name: str, sequence: int) -> None:
        """It runs release `sequence`, with the image of that number."""
        await self.says(name, image=image_of(f"v{sequence}"), sequence=sequence)

    async def start(self, release_id: str, selector: str = "zone=hall", **spec: Any) -> str:
        """Starts a rollout; returns its id."""
        view, _ = await self.rollouts.start(Spec(release_id, selector, **spec), dry_run=False)
        return view.rollout.id

    async def rounds(self, count: int = 3) -> None:
        """The conductor works, a listing's life apart."""
        for _ in range(count):
            self.clock += LISTING_TTL_S + 0.1
            await self.conductor.round()

    async def abort(self, rollout_id: str) -> View:
        """A person ends it."""
        return await self.rollouts.control(rollout_id, lambda r, _: rules.abort(r, "anna"), "aborted")

    async def resume(self, rollout_id: str) -> View:
        """A person lets it go on."""
        return await self.rollouts.control(rollout_id, lambda r, c: rules.resume(r, c.failures), "resumed")

    def update(self, name: str) -> Update:
        """The device's current update."""
        row = self.devices.get(name)
        assert row is not None
        assert row.value.update is not None
        return row.value.update

    def stage(self, name: str) -> Stage:
        """How far that is."""
        return self.update(name).stage

    def state(self, rollout_id: str) -> RolloutState:
        """The state of a rollout."""
        row = self.table.get(rollout_id)
        assert row is not None
        return row.value.state


class _NoPatches:
    async def make(self, old: bytes, new: bytes, formats: int) -> bytes | None:
        """See the port."""
        return None
