"""Trust in updates: roots, release manifests and timestamps, and the checks of each.

Owns the rules, in the order of docs/reference/updates.md, for the service, the offline tools and the device model of
the tests. Has no cryptography, no clock and no parser: callers pass `Verify` and parsed messages with the signed bytes.
After The Update Framework (TUF 1.0.33, sections 5.3 to 5.6).
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from services.domain.errors import Reason, YggError

KEY_ID_BYTES = 8
MAX_KEYS = 8
MAX_ENVELOPE_BYTES = 1536
MAX_RELEASE_BYTES = 1024
MAX_PAYLOAD_BYTES = 1024
MIN_CHUNK_BYTES = 256
MAX_CHUNK_BYTES = 2048
MAX_CHUNKS = 65536
MAX_TEXT = 31
DIGEST_BYTES = 32


class Role(enum.Enum):
    """The signed kinds of metadata; the value is the context that precedes the signed bytes."""

    ROOT = b"ygg-ota-root-1\x00"
    RELEASE = b"ygg-ota-release-1\x00"
    TIMESTAMP = b"ygg-ota-timestamp-1\x00"


class TrustError(YggError, reason=Reason.NOT_TRUSTED):
    """Signed metadata is not trusted; nothing was changed."""


class MalformedMetadataError(TrustError, reason=Reason.METADATA_MALFORMED):
    """The metadata is malformed."""


class TooLongError(MalformedMetadataError, reason=Reason.METADATA_TOO_LONG):
    """The metadata exceeds its maximum length."""


class ThresholdError(TrustError, reason=Reason.TOO_FEW_SIGNATURES):
    """Too few keys of the role have signed the metadata."""


class RootVersionError(TrustError, reason=Reason.ROOT_VERSION):
    """The root is not the successor of the trusted one."""


class ExpiredError(TrustError, reason=Reason.METADATA_EXPIRED):
    """The metadata has expired."""


class StaleError(TrustError, reason=Reason.TIMESTAMP_STALE):
    """A timestamp of another session or device, or older than one seen before."""


class MixAndMatchError(TrustError, reason=Reason.MIX_AND_MATCH):
    """The manifest is not the one that the timestamp names."""


class DeviceClassError(TrustError, reason=Reason.WRONG_DEVICE_CLASS):
    """The image is for another device class."""


class SlotSizeError(TrustError, reason=Reason.WRONG_SLOT_SIZE):
    """The image is for slots of another size."""


class CounterError(TrustError, reason=Reason.SECURITY_COUNTER):
    """The security counter is below the floor."""


class SequenceError(TrustError, reason=Reason.RELEASE_SEQUENCE):
    """The release is older than the running one, or newer than the newest."""


class PrecursorError(TrustError, reason=Reason.WRONG_PRECURSOR):
    """The patch is for another precursor image, or is not the signed one."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature by the key with this id: r and s, 32 bytes each."""

    key_id: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """The exact signed bytes and their signatures."""

    payload: bytes
    signatures: Sequence[Signature] = ()


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """The keys of a role, as indexes into Root.keys, and how many of them must sign."""

    threshold: int
    keys: Sequence[int]


@dataclass(frozen=True, slots=True)
class Root:
    """Public keys (X and Y, 64 bytes) and their roles."""

    version: int
    expires_unix_s: int
    keys: Sequence[bytes]
    root: RoleKeys
    release: RoleKeys
    timestamp: RoleKeys

    def role(self, role: Role) -> RoleKeys:
        """Return the keys of a role."""
        return {Role.ROOT: self.root, Role.RELEASE: self.release, Role.TIMESTAMP: self.timestamp}[role]


@dataclass(frozen=True, slots=True)
class Delta:
    """A patch from one image to another; digests of 32 bytes."""

    precursor_sha256: bytes
    patch_size_bytes: int
    patch_sha256: bytes
    patch_chunks_root: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image for one device class; fields as in ReleaseManifest."""

    device_class: str
    version: str
    sequence: int
    security_counter: int
    slot_size_bytes: int
    image_size_bytes: int
    image_sha256: bytes
    chunk_size_bytes: int
    chunks_root: bytes
    expires_unix_s: int
    delta: Delta | None = None

    @property
    def chunk_count(self) -> int:
        """Return the number of chunks of the image."""
        return -(-self.image_size_bytes // self.chunk_size_bytes)


@dataclass(frozen=True, slots=True)
class Timestamp:
    """The service's current statement to one device; fields as in the message."""

    time_unix_s: int
    newest_sequence: int
    nonce: bytes
    device_id: str
    release_sha256: bytes = b""
    allow_older: bool = False


@dataclass(frozen=True, slots=True)
class TrustContext:
    """State of a device that the checks of its metadata depend on."""

    device_id: str
    device_class: str
    slot_size_bytes: int
    image_sha256: bytes
    sequence: int = 0
    security_counter: int = 0
    newest_sequence: int = 0
    nonce: bytes = field(default=b"", repr=False)


Verify = Callable[[bytes, bytes, bytes], bool]
"""(public key of 64 bytes, message, signature of 64 bytes) → whether the signature is valid; never raises."""


def key_id(public_key: bytes) -> bytes:
    """Return the id of a public key of 64 bytes."""
    return hashlib.sha256(public_key).digest()[:KEY_ID_BYTES]


def digest(payload: bytes) -> bytes:
    """Return the SHA-256 of a manifest's signed bytes, by which a timestamp names it."""
    return hashlib.sha256(payload).digest()


def check_length(role: Role, data: bytes) -> bytes:
    """Return the serialised envelope if its length is allowed; call before parsing. Raises TooLongError."""
    limit = MAX_RELEASE_BYTES if role is Role.RELEASE else MAX_ENVELOPE_BYTES
    if not 1 <= len(data) <= limit:
        raise TooLongError(f"a {role.name.lower()} has {len(data)} bytes, 1 to {limit} are allowed", size=len(data))
    return data


def check_signatures(root: Root, role: Role, envelope: Envelope, verify: Verify) -> None:
    """Raise ThresholdError unless enough different keys of the role have signed exactly these bytes."""
    if not 1 <= len(envelope.payload) <= MAX_PAYLOAD_BYTES:
        raise TooLongError(f"{len(envelope.payload)} signed bytes, 1 to {MAX_PAYLOAD_BYTES} are allowed")
    keys = root.role(role)
    signers = _signers(root, keys, role, envelope, verify)
    if len(signers) < keys.threshold:
        raise ThresholdError(
            f"{len(signers)} of {keys.threshold} signatures that a {role.name.lower()} needs are valid",
            hint="Have more holders of the role's keys sign it: ygg ota sign",
            good=len(signers),
            threshold=keys.threshold,
        )


def _signers(root: Root, keys: RoleKeys, role: Role, envelope: Envelope, verify: Verify) -> set[int]:
    by_id = {key_id(root.keys[index]): index for index in keys.keys}
    good: set[int] = set()
    for signature in envelope.signatures[:MAX_KEYS]:
        index = by_id.get(signature.key_id)
        if index is not None and verify(root.keys[index], role.value + envelope.payload, signature.value):
            good.add(index)
    return good


def check_root(root: Root) -> Root:
    """Return `root` if it is well-formed; raises MalformedMetadataError."""
    _require(root.version >= 1, "a root's version is at least 1")
    _require(root.expires_unix_s > 0, "a root has an expiry")
    _require(1 <= len(root.keys) <= MAX_KEYS, f"a root has 1 to {MAX_KEYS} keys")
    _require(all(len(key) == 64 for key in root.keys), "a public key has 64 bytes")
    _require(len({key_id(key) for key in root.keys}) == len(root.keys), "a root names each key once")
    for role in Role:
        keys = root.role(role)
        _require(list(keys.keys) == sorted(set(keys.keys)), f"the keys of {role.name.lower()} are ascending")
        _require(all(index < len(root.keys) for index in keys.keys), f"a key of {role.name.lower()} does not exist")
        _require(
            1 <= keys.threshold <= len(keys.keys), f"the threshold of {role.name.lower()} is 1 to its number of keys"
        )
    offline = {*root.root.keys, *root.release.keys}
    _require(not offline & set(root.timestamp.keys), "a key of the timestamp role has another role")
    return root


def check_next_root(trusted: Root, found: Root, envelope: Envelope, verify: Verify) -> Root:
    """Return the root to trust from now on. Expiry is not checked: an expired root can still be replaced."""
    check_signatures(trusted, Role.ROOT, envelope, verify)
    check_root(found)
    if found.version != trusted.version + 1:
        raise RootVersionError(
            f"the root has version {found.version}, expected {trusted.version + 1}",
            found=found.version,
            trusted=trusted.version,
        )
    check_signatures(found, Role.ROOT, envelope, verify)
    return found


def check_first_root(found: Root, envelope: Envelope, verify: Verify) -> Root:
    """Return a root that only its own keys have signed: the first one, or one that a tool inspects."""
    check_root(found)
    check_signatures(found, Role.ROOT, envelope, verify)
    return found


def check_manifest(manifest: Manifest) -> Manifest:
    """Return `manifest` if it is well-formed; raises MalformedMetadataError."""
    for name, text in (("device_class", manifest.device_class), ("version", manifest.version)):
        _require(1 <= len(text) <= MAX_TEXT and text.isascii() and text.isprintable(), f"{name} is 1 to 31 ASCII")
    _require(manifest.sequence >= 1, "sequence is at least 1")
    _require(0 <= manifest.security_counter < 2**32, "security_counter is a number of 32 bits")
    _require(manifest.image_size_bytes >= 1, "an image is not empty")
    sizes = f"the image has {manifest.image_size_bytes} bytes, its slot {manifest.slot_size_bytes}"
    _require(manifest.image_size_bytes <= manifest.slot_size_bytes, f"{sizes}: it does not fit")
    size = manifest.chunk_size_bytes
    _require(MIN_CHUNK_BYTES <= size <= MAX_CHUNK_BYTES and size & (size - 1) == 0, "chunk_size is 256 to 2048, 2^n")
    _require(manifest.chunk_count <= MAX_CHUNKS, f"an image has at most {MAX_CHUNKS} chunks")
    _require(len(manifest.image_sha256) == len(manifest.chunks_root) == DIGEST_BYTES, "a digest has 32 bytes")
    _require(manifest.expires_unix_s > 0, "a manifest has an expiry")
    if manifest.delta:
        check_delta(manifest, manifest.delta)
    return manifest


def check_delta(manifest: Manifest, delta: Delta) -> Delta:
    """Return `delta` if it is well-formed for the manifest; raises MalformedMetadataError."""
    digests = (delta.precursor_sha256, delta.patch_sha256, delta.patch_chunks_root)
    _require(all(len(each) == DIGEST_BYTES for each in digests), "a digest has 32 bytes")
    _require(1 <= delta.patch_size_bytes <= manifest.image_size_bytes, "a patch is no longer than the image")
    return delta


def check_release(root: Root, manifest: Manifest, envelope: Envelope, verify: Verify, now_unix_s: int) -> Manifest:
    """Check a release as the service does on upload: signatures, form, expiry of root and manifest. Return its
    manifest.
    """
    check_signatures(root, Role.RELEASE, envelope, verify)
    check_manifest(manifest)
    check_expiry("root", root.expires_unix_s, now_unix_s)
    check_expiry("release", manifest.expires_unix_s, now_unix_s)
    return manifest


def check_expiry(what: str, expires_unix_s: int, now_unix_s: int) -> None:
    """Raise ExpiredError from that second on."""
    if now_unix_s >= expires_unix_s:
        raise ExpiredError(
            f"the {what} expired {now_unix_s - expires_unix_s} s ago",
            hint=f"Sign a new {what}.",
            expires=expires_unix_s,
        )


def check_timestamp(
    root: Root, stamp: Timestamp, envelope: Envelope, verify: Verify, device: TrustContext
) -> Timestamp:
    """Check a timestamp as a device does; return it."""
    check_signatures(root, Role.TIMESTAMP, envelope, verify)
    if stamp.nonce != device.nonce or not device.nonce:
        raise StaleError("the timestamp is for another nonce")
    if stamp.device_id != device.device_id:
        raise StaleError(f"the timestamp is for {stamp.device_id[:63]!r}")
    if stamp.newest_sequence < device.newest_sequence:
        raise StaleError(
            f"the timestamp has release {stamp.newest_sequence} as the newest, {device.newest_sequence} was seen before"
        )
    check_expiry("root", root.expires_unix_s, stamp.time_unix_s)
    return stamp


def check_offer(
    root: Root, stamp: Timestamp, manifest: Manifest, envelope: Envelope, verify: Verify, device: TrustContext
) -> Manifest:
    """Check an offer as a device does, after check_timestamp and before anything is erased; return its manifest."""
    check_release(root, manifest, envelope, verify, stamp.time_unix_s)
    if stamp.release_sha256 != digest(envelope.payload):
        raise MixAndMatchError("the timestamp names another release")
    check_applicable(manifest, device)
    if manifest.sequence > stamp.newest_sequence:
        raise SequenceError(f"release {manifest.sequence} is newer than the newest, {stamp.newest_sequence}")
    if manifest.sequence < device.sequence and not stamp.allow_older:
        raise SequenceError(f"release {manifest.sequence} is older than the running one, {device.sequence}")
    return manifest


def check_applicable(manifest: Manifest, device: TrustContext) -> None:
    """Check class, slot and counter, for the service too: it never offers a release that the device would reject."""
    if manifest.device_class != device.device_class:
        raise DeviceClassError(
            f"the release is for {manifest.device_class!r}, the device is a {device.device_class!r}",
            release=manifest.device_class,
            device=device.device_class,
        )
    if manifest.slot_size_bytes != device.slot_size_bytes:
        raise SlotSizeError(
            f"the release is for slots of {manifest.slot_size_bytes} bytes, the device's have {device.slot_size_bytes}"
        )
    check_counter(manifest, device.security_counter)


def check_counter(manifest: Manifest, floor: int) -> None:
    """Raise CounterError if the manifest is below the floor."""
    if manifest.security_counter < floor:
        raise CounterError(
            f"the release has security counter {manifest.security_counter}, the floor is {floor}",
            hint="Releases below the floor have known vulnerabilities. Release it again with a counter at the floor.",
            counter=manifest.security_counter,
            floor=floor,
        )


def check_patch(manifest: Manifest, delta: Delta, device: TrustContext) -> Delta:
    """Check a patch as a device does before it is applied; return it."""
    check_delta(manifest, delta)
    if delta.precursor_sha256 != device.image_sha256:
        raise PrecursorError("the patch is for another image than the running one")
    signed = manifest.delta
    if signed and signed.precursor_sha256 == delta.precursor_sha256 and signed != delta:
        raise PrecursorError("the patch is not the one that was signed")
    return delta


def newest(sequences: Iterable[int]) -> int:
    """Return the highest sequence, 0 without any."""
    return max(sequences, default=0)


def _require(good: bool, rule: str) -> None:
    if not good:
        raise MalformedMetadataError(rule)
