"""Attacks on updates, each refused at the service. firmware/tests/test_ota_attacks.c has the same ones at the device.

Use cases over stores in memory, with real signatures; the rules alone are in tests/unit/domain/test_trust_attacks.py.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.chassis import trust_codec
from services.domain import trust
from services.domain.errors import InvalidRequestError
from services.domain.trust import Manifest, Role
from services.ota.adapters.cached import CachedObjects
from services.ota.adapters.disk_cache import DiskCache
from services.ota.errors import (
    CorruptImageError,
    DigestMismatchError,
    NoEarlierReleaseError,
    ReleaseRefusedError,
    RootBootstrapError,
    RootDiffersError,
    RootDigestError,
    RootInForceError,
    SizeMismatchError,
)
from services.ota.model import MAX_IMAGE_BYTES, rollout
from services.ota.model.release import Stored
from services.ota.model.rollout import Candidate, Rollout, Spec
from services.ota.model.update import Device, LastUpdate, OtaStatus, Outcome, Reason, Stage, State, Update
from services.ota.service.chunks import Chunks
from services.ota.service.deltas import Deltas
from services.ota.service.relay import Relay, Response
from services.ota.service.releases import Releases
from tests.fakes.objects import MemoryObjects
from tests.fakes.ota_keys import CHUNK, NOW, SLOT, YEAR, Authority, image_of, manifest_of, new_key, signed
from tests.fakes.ota_tables import KeySigner, MemoryTable, NoEvents
from tests.fixtures.images import chunked, header_of

DEVICE = "porch-1"
OLD, NEW = image_of("old"), image_of("new")
NOTHING_TOLD = LastUpdate(0, Outcome.UNSPECIFIED, Reason.UNSPECIFIED)


class Service:
    """ota without I/O: root 1 is set, NEW is stored, and the clock stands at NOW."""

    def __init__(self, authority: Authority) -> None:
        self.authority, self.objects, self.clock = authority, MemoryObjects(), float(NOW)
        self.devices: MemoryTable[Device] = MemoryTable()
        table: MemoryTable[Stored] = MemoryTable()
        signer = KeySigner(authority.timestamp_key)
        self.releases = Releases(table, self.objects, signer, lambda: self.clock)
        deltas = Deltas(MemoryTable(), self.objects, _NoPatches(), lambda *_: None)
        self.rollouts: MemoryTable[Rollout] = MemoryTable()
        self.relay = Relay(self.devices, self.rollouts, self.releases, deltas, NoEvents(), lambda: self.clock)

    async def bootstrap(self) -> None:
        data = trust_codec.envelope_bytes(self.authority.root_envelope())
        await self.releases.set_root(data, self.authority.root_sha256())

    async def store(self, image: bytes) -> None:
        await self.objects.put_stream(header_of(image), chunked(image))

    async def release(self, manifest: Manifest, signers: int = 2) -> str:
        envelope = self.authority.release(manifest, signers)
        return (await self.releases.create(trust_codec.envelope_bytes(envelope))).id

    async def assigned(self, release_id: str) -> int:
        """The device is to get the release; returns the update's id."""
        update = Update(7, "r-1", release_id, self.clock)
        await self.devices.create(DEVICE, Device(DEVICE, standing(), update))
        return update.id

    async def ask(self, nonce: bytes = b"n" * 16, **changes: Any) -> Response:
        """The device reports its class and image."""
        return await self.relay.status(DEVICE, standing(**changes), NOTHING_TOLD, nonce)

    def last(self) -> Update:
        """The device's update as it stands."""
        row = self.devices.get(DEVICE)
        assert row and row.value.update
        return row.value.update


class _NoPatches:
    async def make(self, old: bytes, new: bytes, formats: int) -> bytes | None:
        pytest.fail("a patch was made")


def standing(**changes: Any) -> OtaStatus:
    found = OtaStatus(
        device_class="sim-board",
        rx_frame_bytes=4096,
        state=State.IDLE,
        image_sha256=hashlib.sha256(OLD).hexdigest(),
        image_size_bytes=len(OLD),
        sequence=1,
        security_counter=1,
        root_version=1,
        slot_size_bytes=SLOT,
    )
    return replace(found, **changes)


@pytest.fixture
async def service() -> Service:
    found = Service(Authority())
    await found.bootstrap()
    await found.store(NEW)
    return found


async def test_a_good_release_is_offered(service: Service) -> None:
    """The attacks below are rejected for the attack, not for a missing prerequisite."""
    update = await service.assigned(await service.release(manifest_of(NEW)))
    offer = (await service.ask()).offer
    assert offer and offer.update_id == update
    assert service.last().stage is Stage.OFFERED


async def test_arbitrary_software(service: Service) -> None:
    payload = trust_codec.manifest_bytes(manifest_of(NEW))
    for keys in ([], [new_key(), new_key()], service.authority.root_keys, [service.authority.timestamp_key]):
        with pytest.raises(trust.ThresholdError):
            await service.releases.create(trust_codec.envelope_bytes(signed(Role.RELEASE, payload, keys)))
    assert service.releases.all() == []


async def test_stolen_single_key_below_the_threshold(service: Service) -> None:
    stolen = service.authority.release_keys[0]
    payload = trust_codec.manifest_bytes(manifest_of(NEW))
    for keys in ([stolen], [stolen, stolen]):
        with pytest.raises(trust.ThresholdError):
            await service.releases.create(trust_codec.envelope_bytes(signed(Role.RELEASE, payload, keys)))


async def test_concurrent_releases_by_two_replicas(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    await service.store(OLD)
    first = await service.release(manifest_of(NEW, 2, version="2.0.0"))
    known = service.releases.all
    monkeypatch.setattr(service.releases, "all", lambda *_: [])
    with pytest.raises(ReleaseRefusedError, match="already has a release 2"):
        await service.release(manifest_of(OLD, 2, version="2.0.1"))
    with pytest.raises(
        ReleaseRefusedError, match=f"already has another image of version 2.0.0: release 2, id {first[:12]}"
    ):
        await service.release(manifest_of(OLD, 3, version="2.0.0"))
    again = await service.release(manifest_of(OLD, 3, version="2.0.1"))  # its version was kept for it
    later = await service.release(manifest_of(OLD, 4, version="2.0.1"))
    assert {r.id for r in known()} == {first, again, later}


async def test_first_root_without_matching_digest() -> None:
    """Otherwise the first caller would be trusted forever."""
    service = Service(Authority())
    data, digest = trust_codec.envelope_bytes(service.authority.root_envelope()), service.authority.root_sha256()
    with pytest.raises(RootBootstrapError, match=digest):
        await service.releases.set_root(data)
    with pytest.raises(RootDigestError, match=f"has SHA-256 {digest}, the bootstrap names {'0' * 64}"):
        await service.releases.set_root(data, "0" * 64)
    later = replace(service.authority, version=2)
    with pytest.raises(trust.RootVersionError, match="the first one must have version 1"):
        await service.releases.set_root(trust_codec.envelope_bytes(later.root_envelope()), later.root_sha256())
    assert service.releases.root_envelope() == (0, b"")
    assert await service.releases.set_root(data, digest) == 1
    assert await service.releases.set_root(data) == 1  # the same again changes nothing


async def test_another_root_in_the_place_of_one_in_force(service: Service) -> None:
    """It is rejected for its content, whatever its signatures, bootstrap or not."""
    other, known = Authority(), service.authority.root_sha256()
    data = trust_codec.envelope_bytes(other.root_envelope())
    for named in ("", other.root_sha256()):
        with pytest.raises(RootDiffersError, match=f"{other.root_sha256()} differs from root 1 in force, .* {known}"):
            await service.releases.set_root(data, named)
    after = replace(service.authority, version=2)
    envelope = trust_codec.envelope_bytes(after.root_envelope())
    with pytest.raises(RootInForceError, match="root 1 is in force; root 2 is not its bootstrap"):
        await service.releases.set_root(envelope, after.root_sha256())
    assert await service.releases.set_root(envelope) == 2
    with pytest.raises(RootDiffersError, match="differs from root 1 that was in force before root 2"):
        await service.releases.set_root(data)
    first = trust_codec.envelope_bytes(service.authority.root_envelope())
    with pytest.raises(RootInForceError, match="root 2 is in force"):
        await service.releases.set_root(first, known)


async def test_rollback_below_the_floor(service: Service) -> None:
    release = await service.release(manifest_of(NEW, security_counter=1))
    update = await service.assigned(release)
    await service.releases.set_floor("sim-board", 2)
    assert (await service.ask()).offer is None
    assert (service.last().id, service.last().stage) == (update, Stage.FAILED)
    with pytest.raises(trust.CounterError):
        await service.release(manifest_of(NEW, 3, security_counter=1))


async def test_going_back_ends_at_the_floor(service: Service) -> None:
    """A fleet that is rolled back gets the release before, and none with holes that a floor has ended."""
    await service.store(OLD)
    await service.release(manifest_of(OLD, 2, security_counter=1))
    newer = service.releases.get(await service.release(manifest_of(NEW, 3, security_counter=2)))
    assert service.releases.before(newer).manifest.sequence == 2
    await service.releases.set_floor("sim-board", 2)
    with pytest.raises(NoEarlierReleaseError):
        service.releases.before(newer)


async def test_downgrade_of_the_counter(service: Service) -> None:
    await service.assigned(await service.release(manifest_of(NEW, security_counter=1)))
    assert (await service.ask(security_counter=2)).offer is None
    assert (service.last().stage, service.last().why) == (Stage.FAILED, "the security counter 1 is below 2")
    assert await service.releases.set_floor("sim-board", 5) == 5
    assert await service.releases.set_floor("sim-board", 4) == 5  # a floor does not fall


@pytest.mark.parametrize("device_class", ["", "x" * 32, "naïve", "a\nb"])
async def test_a_floor_is_for_a_device_class(service: Service, device_class: str) -> None:
    with pytest.raises(InvalidRequestError, match="1 to 31 printable ASCII"):
        await service.releases.set_floor(device_class, 1)


async def test_fast_forward(service: Service) -> None:
    """A second manifest of a sequence, and one beyond the releases, are not offered to a device."""
    await service.store(OLD)
    await service.release(manifest_of(NEW, 2))
    with pytest.raises(ReleaseRefusedError, match="already has a release 2"):
        await service.release(manifest_of(OLD, 2))
    assert service.releases.newest("sim-board") == 2


async def test_two_images_of_one_version(service: Service) -> None:
    """A version identifies an image. The same image is released again when its manifest expires."""
    await service.store(OLD)
    first = await service.release(manifest_of(NEW, 2, version="2.0.0"))
    with pytest.raises(
        ReleaseRefusedError, match=f"already has another image of version 2.0.0: release 2, id {first[:12]}"
    ):
        await service.release(manifest_of(OLD, 3, version="2.0.0"))
    again = await service.release(manifest_of(NEW, 3, version="2.0.0", expires_unix_s=NOW + 2 * YEAR))
    assert again != first
    await service.release(manifest_of(OLD, 2, version="2.0.0", device_class="other-board"))


async def test_indefinite_freeze(service: Service) -> None:
    """Each offer states the time, the newest release, and the nonce of this session: an old one is worth nothing."""
    release = await service.release(manifest_of(NEW, 2))
    await service.release(manifest_of(NEW, 5))
    await service.assigned(release)
    stamps = []
    for nonce in (b"1" * 16, b"2" * 16):
        service.clock += 60
        offer = (await service.ask(nonce)).offer
        assert offer
        stamps.append(trust_codec.timestamp(trust_codec.envelope(Role.TIMESTAMP, offer.timestamp).payload))
    assert [stamp.nonce for stamp in stamps] == [b"1" * 16, b"2" * 16]
    assert [stamp.time_unix_s for stamp in stamps] == [NOW + 60, NOW + 120]
    assert [stamp.newest_sequence for stamp in stamps] == [5, 5]


async def test_mix_and_match(service: Service) -> None:
    """The timestamp names the one manifest that goes with it, and the one device."""
    release = await service.release(manifest_of(NEW, 2))
    await service.release(manifest_of(NEW, 3))
    await service.assigned(release)
    offer = (await service.ask()).offer
    assert offer
    stamp = trust_codec.timestamp(trust_codec.envelope(Role.TIMESTAMP, offer.timestamp).payload)
    assert (stamp.release_sha256.hex(), stamp.device_id) == (release, DEVICE)
    assert offer.release.id == release


async def test_endless_data(service: Service) -> None:
    for size in (trust.MAX_RELEASE_BYTES + 1, 10_000_000):
        with pytest.raises(trust.TooLongError):
            await service.releases.create(bytes(size))
        with pytest.raises(trust.TooLongError):
            await service.releases.set_root(bytes(size + trust.MAX_ENVELOPE_BYTES))

    async def endless() -> Any:
        while True:
            yield bytes(1024 * 1024)

    with pytest.raises(SizeMismatchError):
        await service.objects.put_stream(replace(header_of(OLD), size_bytes=MAX_IMAGE_BYTES), endless())
    assert service.objects.unfinished == set()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"device_class": "esp32-c3"}, "the device class is esp32-c3"),
        ({"slot_size_bytes": 4096}, f"its slots have 4096 bytes, the release requires {SLOT}"),
    ],
)
async def test_wrong_device_class(service: Service, changes: dict[str, Any], why: str) -> None:
    await service.assigned(await service.release(manifest_of(NEW)))
    assert (await service.ask(**changes)).offer is None
    assert (service.last().stage, service.last().why) == (Stage.FAILED, why)


async def test_wrong_precursor(service: Service) -> None:
    """A signed patch from another image than the device runs is not offered to it."""
    patch = b"patch" * 20
    await service.store(patch)
    tree = hashlib.sha256(b"\x00" + patch).digest()
    delta = trust.Delta(hashlib.sha256(b"other").digest(), len(patch), hashlib.sha256(patch).digest(), tree)
    await service.assigned(await service.release(manifest_of(NEW, delta=delta)))
    offer = (await service.ask(patch_formats=3)).offer
    assert offer and offer.delta is None


async def test_truncated_and_trailing_data(service: Service) -> None:
    for image in (NEW[:-1], NEW + b"x"):
        with pytest.raises((SizeMismatchError, DigestMismatchError)):
            await service.objects.put_stream(header_of(OLD), chunked(image))
        with pytest.raises(ReleaseRefusedError, match="is not stored"):
            await service.release(replace(manifest_of(NEW), image_size_bytes=len(image)))


def test_slow_retrieval() -> None:
    """A device that is fed too slowly counts as failed after its time, and so towards a halt."""
    update = Update(7, "r-1", "release", float(NOW), Stage.DOWNLOADING)
    going = Rollout("r-1", Spec("release", device_timeout_s=900), float(NOW))
    candidates = [Candidate(DEVICE, True, update)]
    assert rollout.step(going, candidates, NOW + 900).expire == []
    assert rollout.step(going, candidates, NOW + 901).expire == [DEVICE]


async def test_replayed_manifest(service: Service) -> None:
    """The same bytes again are the same release; a release signed by a removed key is invalid."""
    envelope = trust_codec.envelope_bytes(service.authority.release(manifest_of(NEW)))
    first = await service.releases.create(envelope)
    assert (await service.releases.create(envelope)).id == first.id
    assert len(service.releases.all()) == 1
    await service.assigned(first.id)
    after = replace(service.authority, version=2, release_keys=[new_key() for _ in range(3)])
    await service.releases.set_root(trust_codec.envelope_bytes(after.root_envelope()))
    with pytest.raises(trust.ThresholdError):
        service.releases.check_offerable(first)
    assert (await service.ask()).offer is None
    with pytest.raises(trust.ThresholdError):
        await service.releases.create(envelope)


async def test_service_with_untrusted_key_offers_nothing(service: Service) -> None:
    """As after the theft of the timestamp key, until the service has the new one."""
    await service.assigned(await service.release(manifest_of(NEW)))
    kept = service.authority.timestamp_key
    for version, key, offered in ((2, new_key(), False), (3, kept, True)):
        root = replace(service.authority, version=version, timestamp_key=key).root_envelope()
        await service.releases.set_root(trust_codec.envelope_bytes(root))
        assert service.releases.delegated is offered
        assert ((await service.ask()).offer is not None) is offered
        assert service.last().stage is (Stage.OFFERED if offered else Stage.ASSIGNED)


@pytest.mark.parametrize("expired", ["root", "release"])
async def test_expired_root_or_release(expired: str) -> None:
    life = {"root": YEAR, "release": YEAR} | {expired: 3600}
    service = Service(Authority(expires_unix_s=NOW + life["root"]))
    await service.bootstrap()
    await service.store(NEW)
    await service.assigned(await service.release(manifest_of(NEW, expires_unix_s=NOW + life["release"])))
    service.clock += 3600
    assert (await service.ask()).offer is None
    assert f"the {expired}" in service.last().why
    with pytest.raises(trust.ExpiredError):
        await service.release(manifest_of(NEW, 3, expires_unix_s=NOW + life["release"]))


async def test_compromised_bridge(service: Service) -> None:
    """A claim is not enough: success is the digest of the running image, after a restart, under the update's id."""
    update = await service.assigned(await service.release(manifest_of(NEW)))
    await service.ask()
    await service.relay.result(DEVICE, update, Outcome.CONFIRMED, Reason.UNSPECIFIED, "")
    assert service.last().stage is Stage.OFFERED
    await service.relay.status(DEVICE, standing(), LastUpdate(update, Outcome.CONFIRMED, Reason.UNSPECIFIED), b"n" * 16)
    assert service.last().stage is not Stage.CONFIRMED
    await service.relay.result(DEVICE, update + 1, Outcome.REVERTED, Reason.UNSPECIFIED, "")
    assert service.last().stage.active
    offer = (await service.ask(secrets.token_bytes(16), image_sha256=hashlib.sha256(NEW).hexdigest())).offer
    assert offer is None
    assert service.last().stage is Stage.CONFIRMED


async def test_tampering_between_check_and_use(service: Service, tmp_path: Path) -> None:
    """Whoever changes a stored image after its release was checked finds that no chunk of it leaves the service."""
    await service.release(manifest_of(NEW))
    digest = hashlib.sha256(NEW).hexdigest()
    image, data = service.objects.images[digest]
    service.objects.images[digest] = (image, data[:-1] + bytes([data[-1] ^ 1]))
    store = CachedObjects(service.objects, DiskCache.open(tmp_path / "cache", 2 * MAX_IMAGE_BYTES))
    with pytest.raises(CorruptImageError):
        await anext(Chunks(store).read(digest, CHUNK, 0, 1))
