"""Attacks on updates by signed metadata, each by its name in TUF or in the issue; all signatures are real."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.chassis import trust_codec
from services.domain import trust
from services.domain.trust import Delta, Envelope, Manifest, Role, RoleKeys, Signature, TrustContext
from tests.fakes.ota_keys import NOW, SLOT, YEAR, Authority, image_of, manifest_of, new_key, public, signed, stamp_of

IMAGE = image_of("v2")
NONCE = bytes(range(16))
DEVICE = TrustContext("porch-1", "sim-board", SLOT, b"\x11" * 32, sequence=1, security_counter=1, nonce=NONCE)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def offer(
    authority: Authority,
    manifest: Manifest,
    device: TrustContext = DEVICE,
    *,
    envelope: Envelope | None = None,
    **stamp: Any,
) -> Manifest:
    """A device's checks of an offer: timestamp, then release, each signature before its bytes are parsed."""
    release = envelope or authority.release(manifest)
    found = authority.stamp(replace(stamp_of(release, device.nonce), **stamp))
    root = authority.root()
    checked = trust.check_timestamp(root, trust_codec.timestamp(found.payload), found, trust_codec.verify, device)
    return trust.check_offer(root, checked, trust_codec.manifest(release.payload), release, trust_codec.verify, device)


def test_a_good_offer_is_taken(authority: Authority) -> None:
    assert offer(authority, manifest_of(IMAGE)) == manifest_of(IMAGE)


def test_arbitrary_software_without_valid_signature(authority: Authority) -> None:
    payload = trust_codec.manifest_bytes(manifest_of(image_of("evil")))
    with pytest.raises(trust.ThresholdError):
        offer(authority, manifest_of(IMAGE), envelope=Envelope(payload))


def test_arbitrary_software_signed_by_strangers(authority: Authority) -> None:
    payload = trust_codec.manifest_bytes(manifest_of(image_of("evil")))
    with pytest.raises(trust.ThresholdError):
        offer(authority, manifest_of(IMAGE), envelope=signed(Role.RELEASE, payload, [new_key(), new_key()]))


def test_stolen_single_key_below_threshold(authority: Authority) -> None:
    with pytest.raises(trust.ThresholdError, match="1 of 2"):
        offer(authority, manifest_of(IMAGE), envelope=authority.release(manifest_of(IMAGE), signers=1))


def test_stolen_single_key_that_signs_twice(authority: Authority) -> None:
    once = authority.release(manifest_of(IMAGE), signers=1)
    again = authority.release(manifest_of(IMAGE), signers=1)
    with pytest.raises(trust.ThresholdError, match="1 of 2"):
        offer(authority, manifest_of(IMAGE), envelope=Envelope(once.payload, [*once.signatures, *again.signatures]))


def test_stolen_single_key_under_the_id_of_another(authority: Authority) -> None:
    good = authority.release(manifest_of(IMAGE), signers=1)
    other = trust.key_id(public(authority.release_keys)[1])
    forged = Envelope(good.payload, [*good.signatures, Signature(other, good.signatures[0].value)])
    with pytest.raises(trust.ThresholdError, match="1 of 2"):
        offer(authority, manifest_of(IMAGE), envelope=forged)


def test_the_timestamp_key_cannot_authorise_an_image(authority: Authority) -> None:
    payload = trust_codec.manifest_bytes(manifest_of(IMAGE))
    keys = [authority.timestamp_key, authority.release_keys[0]]
    with pytest.raises(trust.ThresholdError, match="1 of 2"):
        offer(authority, manifest_of(IMAGE), envelope=signed(Role.RELEASE, payload, keys))


def test_a_root_key_cannot_authorise_an_image(authority: Authority) -> None:
    payload = trust_codec.manifest_bytes(manifest_of(IMAGE))
    with pytest.raises(trust.ThresholdError, match="0 of 2"):
        offer(authority, manifest_of(IMAGE), envelope=signed(Role.RELEASE, payload, authority.root_keys))


def test_signature_of_one_role_is_invalid_for_another(authority: Authority) -> None:
    payload = trust_codec.manifest_bytes(manifest_of(IMAGE))
    with pytest.raises(trust.ThresholdError, match="0 of 2"):
        offer(authority, manifest_of(IMAGE), envelope=signed(Role.ROOT, payload, authority.release_keys))


@pytest.mark.parametrize("index", range(0, 99, 3))
def test_one_bit_changed_after_signing(authority: Authority, index: int) -> None:
    good = authority.release(manifest_of(IMAGE))
    changed = bytearray(good.payload)
    changed[index] ^= 1
    with pytest.raises(trust.ThresholdError, match="0 of 2"):
        trust.check_signatures(
            authority.root(), Role.RELEASE, Envelope(bytes(changed), good.signatures), trust_codec.verify
        )


def test_rollback_below_the_security_counter(authority: Authority) -> None:
    with pytest.raises(trust.CounterError):
        offer(authority, manifest_of(IMAGE, security_counter=0))


def test_downgrade_of_the_counter_though_the_sequence_is_newer(authority: Authority) -> None:
    with pytest.raises(trust.CounterError):
        offer(authority, manifest_of(IMAGE, sequence=8), replace(DEVICE, security_counter=2))


def test_replayed_manifest_of_an_older_release(authority: Authority) -> None:
    with pytest.raises(trust.SequenceError, match="older"):
        offer(authority, manifest_of(IMAGE, sequence=1), replace(DEVICE, sequence=2))


def test_a_fleet_may_go_back_when_the_service_says_so(authority: Authority) -> None:
    device = replace(DEVICE, sequence=2)
    assert offer(authority, manifest_of(IMAGE, sequence=1), device, allow_older=True).sequence == 1


def test_going_back_is_still_bound_by_the_counter(authority: Authority) -> None:
    device = replace(DEVICE, sequence=2, security_counter=2)
    with pytest.raises(trust.CounterError):
        offer(authority, manifest_of(IMAGE, sequence=1), device, allow_older=True)


def test_fast_forward_beyond_released_versions(authority: Authority) -> None:
    with pytest.raises(trust.SequenceError, match="newer than the newest"):
        offer(authority, manifest_of(IMAGE, sequence=10))


def test_indefinite_freeze_by_an_old_timestamp(authority: Authority) -> None:
    with pytest.raises(trust.StaleError, match="seen before"):
        offer(authority, manifest_of(IMAGE), replace(DEVICE, newest_sequence=12))


def test_indefinite_freeze_by_a_replayed_timestamp(authority: Authority) -> None:
    with pytest.raises(trust.StaleError, match="nonce"):
        offer(authority, manifest_of(IMAGE), nonce=bytes(16))


def test_a_device_without_a_nonce_believes_no_timestamp(authority: Authority) -> None:
    with pytest.raises(trust.StaleError, match="nonce"):
        offer(authority, manifest_of(IMAGE), replace(DEVICE, nonce=b""))


def test_a_timestamp_made_for_another_device(authority: Authority) -> None:
    with pytest.raises(trust.StaleError, match="porch-2"):
        offer(authority, manifest_of(IMAGE), device_id="porch-2")


def test_mix_and_match_of_a_timestamp_and_another_manifest(authority: Authority) -> None:
    with pytest.raises(trust.MixAndMatchError):
        offer(authority, manifest_of(IMAGE), release_sha256=bytes(32))


def test_endless_data_is_refused_by_its_length_alone() -> None:
    for role, limit in ((Role.ROOT, 1536), (Role.TIMESTAMP, 1536), (Role.RELEASE, 1024)):
        with pytest.raises(trust.TooLongError):
            trust_codec.envelope(role, bytes(limit + 1))
        with pytest.raises(trust.MalformedMetadataError):
            trust_codec.envelope(role, b"\xff" * limit)


def test_wrong_device_class(authority: Authority) -> None:
    with pytest.raises(trust.DeviceClassError):
        offer(authority, manifest_of(IMAGE, device_class="esp32-c3"))


def test_wrong_slot_size(authority: Authority) -> None:
    with pytest.raises(trust.SlotSizeError):
        offer(authority, manifest_of(IMAGE, slot_size_bytes=2 * SLOT))


def test_wrong_precursor() -> None:
    delta = Delta(b"\x22" * 32, 100, bytes(32), bytes(32))
    with pytest.raises(trust.PrecursorError, match="another image"):
        trust.check_patch(manifest_of(IMAGE), delta, DEVICE)


def test_a_patch_in_place_of_the_signed_one() -> None:
    delta = Delta(DEVICE.image_sha256, 100, bytes(32), bytes(32))
    with pytest.raises(trust.PrecursorError, match="signed"):
        trust.check_patch(manifest_of(IMAGE, delta=replace(delta, patch_size_bytes=99)), delta, DEVICE)
    assert trust.check_patch(manifest_of(IMAGE, delta=delta), delta, DEVICE) == delta


def test_a_patch_longer_than_the_image() -> None:
    delta = Delta(DEVICE.image_sha256, len(IMAGE) + 1, bytes(32), bytes(32))
    with pytest.raises(trust.MalformedMetadataError):
        trust.check_patch(manifest_of(IMAGE), delta, DEVICE)


def test_expired_release(authority: Authority) -> None:
    with pytest.raises(trust.ExpiredError, match="release"):
        offer(authority, manifest_of(IMAGE, expires_unix_s=NOW))


def test_expired_root() -> None:
    with pytest.raises(trust.ExpiredError, match="root"):
        offer(Authority(expires_unix_s=NOW), manifest_of(IMAGE))


@pytest.mark.parametrize(
    "changes",
    [
        {"image_size_bytes": 0},
        {"image_size_bytes": SLOT + 1},
        {"chunk_size_bytes": 300},
        {"chunk_size_bytes": 128},
        {"chunk_size_bytes": 4096},
        {"image_sha256": bytes(31)},
        {"chunks_root": b""},
        {"device_class": ""},
        {"device_class": "x" * 32},
        {"version": "1\x002"},
        {"sequence": 0},
        {"expires_unix_s": 0},
        {"image_size_bytes": 1 << 25, "slot_size_bytes": 1 << 25, "chunk_size_bytes": 256},
    ],
    ids=str,
)
def test_a_manifest_against_a_rule_of_its_form(authority: Authority, changes: dict[str, Any]) -> None:
    with pytest.raises(trust.MalformedMetadataError):
        offer(authority, manifest_of(IMAGE, **changes))


def test_a_manifest_with_everything_in_it_keeps_to_1_kib(authority: Authority) -> None:
    longest = manifest_of(
        IMAGE,
        device_class="c" * 31,
        version="v" * 31,
        sequence=2**32 - 1,
        security_counter=2**32 - 1,
        delta=Delta(b"\xff" * 32, len(IMAGE), b"\xff" * 32, b"\xff" * 32),
    )
    five = signed(Role.RELEASE, trust_codec.manifest_bytes(longest), [new_key() for _ in range(5)])
    assert len(trust_codec.envelope_bytes(five)) <= trust.MAX_RELEASE_BYTES


# --- roots


def rotated(authority: Authority, **changes: Any) -> Authority:
    return replace(authority, **{"version": authority.version + 1, **changes})


def take(trusted: Authority, found: Authority, envelope: Envelope) -> trust.Root:
    return trust.check_next_root(trusted.root(), found.root(), envelope, trust_codec.verify)


def test_a_root_is_rotated_to_other_keys(authority: Authority) -> None:
    new = rotated(authority, root_keys=[new_key() for _ in range(3)])
    assert take(authority, new, new.root_envelope(*authority.root_keys[1:])) == new.root()


def test_a_root_without_the_old_threshold(authority: Authority) -> None:
    new = rotated(authority, root_keys=[new_key() for _ in range(3)])
    with pytest.raises(trust.ThresholdError):
        take(authority, new, new.root_envelope(authority.root_keys[0]))


def test_a_root_without_its_own_threshold(authority: Authority) -> None:
    new = rotated(authority, root_keys=[new_key() for _ in range(3)])
    envelope = signed(Role.ROOT, trust_codec.root_bytes(new.root()), [*authority.root_keys, new.root_keys[0]])
    with pytest.raises(trust.ThresholdError):
        take(authority, new, envelope)


@pytest.mark.parametrize("version", [1, 3, 2**31])
def test_a_root_that_skips_or_repeats_a_version(authority: Authority, version: int) -> None:
    new = rotated(authority, version=version)
    with pytest.raises(trust.RootVersionError):
        take(authority, new, new.root_envelope())


def test_an_expired_root_can_still_be_replaced() -> None:
    old = Authority(expires_unix_s=NOW - 1)
    new = rotated(old, expires_unix_s=NOW + YEAR)
    assert take(old, new, new.root_envelope()).expires_unix_s == NOW + YEAR


def test_a_root_that_lets_the_online_key_sign_releases(authority: Authority) -> None:
    root = replace(rotated(authority).root(), release=RoleKeys(1, (3, 6)))
    envelope = signed(Role.ROOT, trust_codec.root_bytes(root), authority.root_keys)
    with pytest.raises(trust.MalformedMetadataError, match="another role"):
        trust.check_next_root(authority.root(), root, envelope, trust_codec.verify)


@pytest.mark.parametrize(
    "keys", [RoleKeys(0, (0, 1)), RoleKeys(3, (0, 1)), RoleKeys(1, (0, 0)), RoleKeys(1, (9,)), RoleKeys(1, ())], ids=str
)
def test_a_root_with_a_threshold_that_means_nothing(authority: Authority, keys: RoleKeys) -> None:
    with pytest.raises(trust.MalformedMetadataError):
        trust.check_root(replace(authority.root(), root=keys))


def test_root_with_duplicate_key_misses_threshold(authority: Authority) -> None:
    root = authority.root()
    with pytest.raises(trust.MalformedMetadataError, match="once"):
        trust.check_root(replace(root, keys=[root.keys[0], root.keys[0], *root.keys[2:]]))


def test_a_revoked_release_key_signs_no_more(authority: Authority) -> None:
    new = rotated(authority, release_keys=[new_key(), new_key(), authority.release_keys[2]])
    with pytest.raises(trust.ThresholdError, match="0 of 2"):
        offer(new, manifest_of(IMAGE), envelope=authority.release(manifest_of(IMAGE)))


@pytest.mark.parametrize("value", [b"", bytes(63), bytes(64), b"\xff" * 64, bytes(65)], ids=len)
def test_malformed_signatures(authority: Authority, value: bytes) -> None:
    ids = [trust.key_id(key) for key in public(authority.release_keys)]
    payload = trust_codec.manifest_bytes(manifest_of(IMAGE))
    with pytest.raises(trust.ThresholdError):
        offer(authority, manifest_of(IMAGE), envelope=Envelope(payload, [Signature(i, value) for i in ids]))


def test_root_manifest_and_timestamp_survive_the_wire(authority: Authority) -> None:
    assert trust_codec.root(trust_codec.root_bytes(authority.root())) == replace(
        authority.root(), keys=tuple(authority.root().keys)
    )
    manifest = manifest_of(IMAGE, delta=Delta(b"\x01" * 32, 7, b"\x02" * 32, b"\x03" * 32))
    assert trust_codec.manifest(trust_codec.manifest_bytes(manifest)) == manifest
    stamp = stamp_of(authority.release(manifest), NONCE, allow_older=True)
    assert trust_codec.timestamp(trust_codec.timestamp_bytes(stamp)) == stamp
    envelope = authority.root_envelope()
    assert trust_codec.envelope(Role.ROOT, trust_codec.envelope_bytes(envelope)) == envelope
