"""Who may say what about updates: roots, release manifests, timestamps, and how each is checked.

Owns the rules, in the order of docs/reference/updates.md, for the service, the offline tools and the device model in
the tests. Has no cryptography, no clock and no parser: whoever uses it hands in `Verify` and parsed messages together
with the bytes that were signed. After The Update Framework (TUF 1.0.33, sections 5.3 to 5.6).
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from services.domain.errors import Code, YggError

KEY_ID_BYTES = 8
MAX_KEYS = 8
MAX_ENVELOPE_BYTES = 1536
MAX_RELEASE_BYTES = 1024
MAX_PAYLOAD_BYTES = 1024
MIN_CHUNK_BYTES, MAX_CHUNK_BYTES, MAX_CHUNKS = 256, 2048, 65536
MAX_TEXT = 31
DIGEST_BYTES = 32


class Role(enum.Enum):
    """What is signed; the value is the context that goes before the signed bytes."""

    ROOT = b"ygg-ota-root-1\x00"
    RELEASE = b"ygg-ota-release-1\x00"
    TIMESTAMP = b"ygg-ota-timestamp-1\x00"


class TrustError(YggError):
    """Signed metadata that must not be believed; nothing was changed."""

    code, reason = Code.FAILED_PRECONDITION, "NOT_TRUSTED"


class MalformedMetadataError(TrustError):
    """It breaks a rule of its own form."""

    code, reason = Code.INVALID_ARGUMENT, "METADATA_MALFORMED"


class TooLongError(MalformedMetadataError):
    """It is longer than such metadata may be."""

    reason = "METADATA_TOO_LONG"


class ThresholdError(TrustError):
    """Too few keys of the role have signed it."""

    reason = "TOO_FEW_SIGNATURES"


class RootVersionError(TrustError):
    """The root does not follow the one that is trusted."""

    reason = "ROOT_VERSION"


class ExpiredError(TrustError):
    """Its time is over."""

    reason = "METADATA_EXPIRED"


class StaleError(TrustError):
    """A timestamp of another session, of another device, or older than one that was seen."""

    reason = "TIMESTAMP_STALE"


class MixAndMatchError(TrustError):
    """The manifest is not the one that the timestamp names."""

    reason = "MIX_AND_MATCH"


class DeviceClassError(TrustError):
    """The image is for other devices."""

    reason = "WRONG_DEVICE_CLASS"


class SlotSizeError(TrustError):
    """The image is for slots of another size."""

    reason = "WRONG_SLOT_SIZE"


class CounterError(TrustError):
    """The security counter is below the floor."""

    reason = "SECURITY_COUNTER"


class SequenceError(TrustError):
    """The release is older than what runs, or newer than the newest."""

    reason = "RELEASE_SEQUENCE"


class PrecursorError(TrustError):
    """The patch starts from another image, or is not the signed one."""

    reason = "WRONG_PRECURSOR"


@dataclass(frozen=True, slots=True)
class Signature:
    """r and s, 32 bytes each, of the key with this id."""

    key_id: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """The exact bytes that were signed, and who signed them."""

    payload: bytes
    signatures: Sequence[Signature] = ()


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """How many of which keys; `keys` are indexes into Root.keys."""

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
        """The keys of a role."""
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
        """Number of chunks of the image."""
        return -(-self.image_size_bytes // self.chunk_size_bytes)


@dataclass(frozen=True, slots=True)
class Timestamp:
    """What the service says just now to one device; fields as in the message."""

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
"""(public key of 64 bytes, message, signature of 64 bytes) → whether it is good; never raises."""


def key_id(public_key: bytes) -> bytes:
    """The id of a public key of 64 bytes."""
    return hashlib.sha256(public_key).digest()[:KEY_ID_BYTES]


def digest(payload: bytes) -> bytes:
    """What a timestamp calls a manifest by: the SHA-256 of the bytes that were signed."""
    return hashlib.sha256(payload).digest()


def check_length(role: Role, data: bytes) -> bytes:
    """Returns the serialised envelope where it is not too long; before anything else is done with it."""
    limit = MAX_RELEASE_BYTES if role is Role.RELEASE else MAX_ENVELOPE_BYTES
    if not 1 <= len(data) <= limit:
        raise TooLongError(f"a {role.name.lower()} has {len(data)} bytes, 1 to {limit} are allowed", size=len(data))
    return data


def check_signatures(root: Root, role: Role, envelope: Envelope, verify: Verify) -> None:
    """Raises ThresholdError unless enough different keys of the role have signed exactly these bytes."""
    if not 1 <= len(envelope.payload) <= MAX_PAYLOAD_BYTES:
        raise TooLongError(f"{len(envelope.payload)} signed bytes, 1 to {MAX_PAYLOAD_BYTES} are allowed")
    wanted = root.role(role)
    good = _signers(root, wanted, role, envelope, verify)
    if len(good) < wanted.threshold:
        raise ThresholdError(
            f"{len(good)} of {wanted.threshold} signatures that a {role.name.lower()} needs are good",
            hint="Have more holders of the role's keys sign it: ygg ota sign",
            good=len(good),
            threshold=wanted.threshold,
        )


def _signers(root: Root, wanted: RoleKeys, role: Role, envelope: Envelope, verify: Verify) -> set[int]:
    by_id = {key_id(root.keys[index]): index for index in wanted.keys}
    good: set[int] = set()
    for signature in envelope.signatures[:MAX_KEYS]:
        index = by_id.get(signature.key_id)
        if index is not None and verify(root.keys[index], role.value + envelope.payload, signature.value):
            good.add(index)
    return good


def check_root(root: Root) -> Root:
    """Returns `root` if its form is right, else raises MalformedMetadataError."""
    _need(root.version >= 1, "a root's version is 1 and up")
    _need(root.expires_unix_s > 0, "a root expires")
    _need(1 <= len(root.keys) <= MAX_KEYS, f"a root has 1 to {MAX_KEYS} keys")
    _need(all(len(key) == 64 for key in root.keys), "a public key has 64 bytes")
    _need(len({key_id(key) for key in root.keys}) == len(root.keys), "a root names each key once")
    for role in Role:
        keys = root.role(role)
        _need(list(keys.keys) == sorted(set(keys.keys)), f"the keys of {role.name.lower()} ascend")
        _need(all(index < len(root.keys) for index in keys.keys), f"a key of {role.name.lower()} is not there")
        _need(1 <= keys.threshold <= len(keys.keys), f"the threshold of {role.name.lower()} is 1 to its keys")
    offline = {*root.root.keys, *root.release.keys}
    _need(not offline & set(root.timestamp.keys), "a key of the timestamp role holds another role")
    return root


def check_next_root(trusted: Root, found: Root, envelope: Envelope, verify: Verify) -> Root:
    """Returns the root to trust from now on. Expiry is not looked at: an expired root can still be replaced."""
    check_signatures(trusted, Role.ROOT, envelope, verify)
    check_root(found)
    if found.version != trusted.version + 1:
        raise RootVersionError(
            f"the root has version {found.version}, after {trusted.version} comes {trusted.version + 1}",
            found=found.version,
            trusted=trusted.version,
        )
    check_signatures(found, Role.ROOT, envelope, verify)
    return found


def check_first_root(found: Root, envelope: Envelope, verify: Verify) -> Root:
    """Returns a root that nothing vouches for but itself: for the first one, and for tools that look at a file."""
    check_root(found)
    check_signatures(found, Role.ROOT, envelope, verify)
    return found


def check_manifest(manifest: Manifest) -> Manifest:
    """Returns `manifest` if its form is right, else raises MalformedMetadataError."""
    for name, text in (("device_class", manifest.device_class), ("version", manifest.version)):
        _need(1 <= len(text) <= MAX_TEXT and text.isascii() and text.isprintable(), f"{name} is 1 to 31 ASCII")
    _need(manifest.sequence >= 1, "sequence is 1 and up")
    _need(0 <= manifest.security_counter < 2**32, "security_counter is a number of 32 bits")
    _need(manifest.image_size_bytes >= 1, "an image is not empty")
    sizes = f"the image has {manifest.image_size_bytes} bytes, its slot {manifest.slot_size_bytes}"
    _need(manifest.image_size_bytes <= manifest.slot_size_bytes, f"{sizes}: it does not fit")
    size = manifest.chunk_size_bytes
    _need(MIN_CHUNK_BYTES <= size <= MAX_CHUNK_BYTES and size & (size - 1) == 0, "chunk_size is 256 to 2048, 2^n")
    _need(manifest.chunk_count <= MAX_CHUNKS, f"an image has at most {MAX_CHUNKS} chunks")
    _need(len(manifest.image_sha256) == len(manifest.chunks_root) == DIGEST_BYTES, "a digest has 32 bytes")
    _need(manifest.expires_unix_s > 0, "a manifest expires")
    if manifest.delta:
        check_delta(manifest, manifest.delta)
    return manifest


def check_delta(manifest: Manifest, delta: Delta) -> Delta:
    """Returns `delta` if its form is right for the manifest, else raises MalformedMetadataError."""
    digests = (delta.precursor_sha256, delta.patch_sha256, delta.patch_chunks_root)
    _need(all(len(each) == DIGEST_BYTES for each in digests), "a digest has 32 bytes")
    _need(1 <= delta.patch_size_bytes <= manifest.image_size_bytes, "a patch is no longer than the image")
    return delta


def check_release(root: Root, manifest: Manifest, envelope: Envelope, verify: Verify, now_unix_s: int) -> Manifest:
    """What the service checks on upload: signatures, form, expiry of root and manifest."""
    check_signatures(root, Role.RELEASE, envelope, verify)
    check_manifest(manifest)
    check_expiry("root", root.expires_unix_s, now_unix_s)
    check_expiry("release", manifest.expires_unix_s, now_unix_s)
    return manifest


def check_expiry(what: str, expires_unix_s: int, now_unix_s: int) -> None:
    """Raises ExpiredError from that second on."""
    if now_unix_s >= expires_unix_s:
        raise ExpiredError(
            f"the {what} expired {now_unix_s - expires_unix_s} s ago",
            hint=f"Sign a new {what}.",
            expires=expires_unix_s,
        )


def check_timestamp(
    root: Root, stamp: Timestamp, envelope: Envelope, verify: Verify, device: TrustContext
) -> Timestamp:
    """What a device checks of a timestamp."""
    check_signatures(root, Role.TIMESTAMP, envelope, verify)
    if stamp.nonce != device.nonce or not device.nonce:
        raise StaleError("the timestamp answers another nonce")
    if stamp.device_id != device.device_id:
        raise StaleError(f"the timestamp is for {stamp.device_id[:63]!r}")
    if stamp.newest_sequence < device.newest_sequence:
        raise StaleError(
            f"the timestamp knows release {stamp.newest_sequence}, {device.newest_sequence} was seen before"
        )
    check_expiry("root", root.expires_unix_s, stamp.time_unix_s)
    return stamp


def check_offer(
    root: Root, stamp: Timestamp, manifest: Manifest, envelope: Envelope, verify: Verify, device: TrustContext
) -> Manifest:
    """What a device checks of an offer, after check_timestamp: all that decides before anything is erased."""
    check_release(root, manifest, envelope, verify, stamp.time_unix_s)
    if stamp.release_sha256 != digest(envelope.payload):
        raise MixAndMatchError("the timestamp names another release")
    check_applicable(manifest, device)
    if manifest.sequence > stamp.newest_sequence:
        raise SequenceError(f"release {manifest.sequence} is newer than the newest, {stamp.newest_sequence}")
    if manifest.sequence < device.sequence and not stamp.allow_older:
        raise SequenceError(f"release {manifest.sequence} is older than {device.sequence}, which runs")
    return manifest


def check_applicable(manifest: Manifest, device: TrustContext) -> None:
    """Class, slot and counter; the service refuses to offer what the device would refuse to take."""
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
    """Raises CounterError where the manifest is below the floor."""
    if manifest.security_counter < floor:
        raise CounterError(
            f"the release has security counter {manifest.security_counter}, the floor is {floor}",
            hint="What is below the floor has known holes. Release it again with a counter at the floor.",
            counter=manifest.security_counter,
            floor=floor,
        )


def check_patch(manifest: Manifest, delta: Delta, device: TrustContext) -> Delta:
    """What a device checks of a patch before it takes one."""
    check_delta(manifest, delta)
    if delta.precursor_sha256 != device.image_sha256:
        raise PrecursorError("the patch starts from another image than the one that runs")
    signed = manifest.delta
    if signed and signed.precursor_sha256 == delta.precursor_sha256 and signed != delta:
        raise PrecursorError("the patch is not the one that was signed")
    return delta


def newest(sequences: Iterable[int]) -> int:
    """The greatest sequence, 0 where there is none."""
    return max(sequences, default=0)


def _need(good: bool, rule: str) -> None:
    if not good:
        raise MalformedMetadataError(rule)
