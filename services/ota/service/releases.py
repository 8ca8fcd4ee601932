"""Roots, releases and floors: accepts documents signed elsewhere, and signs timestamps.

Every check of services.domain.trust is made on acceptance, and again by each device.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from services.chassis import trust_codec
from services.domain import trust
from services.domain.errors import InvalidRequestError
from services.domain.trust import Envelope, Manifest, Role, Root, Timestamp
from services.ota.errors import (
    NoEarlierReleaseError,
    NoRootError,
    ReleaseNotFoundError,
    ReleaseRefusedError,
    RootBootstrapError,
    RootDiffersError,
    RootDigestError,
    RootInForceError,
)
from services.ota.model.release import Release, Signed, Stored, check_new
from services.ota.ports import ObjectStore, Row, Table
from services.ota.service.table import edit, write

_log = logging.getLogger(__name__)


Clock = Callable[[], float]
"""Returns seconds since 1970."""


class Signer(Protocol):
    """The timestamp key."""

    @property
    def public_key(self) -> bytes:
        """Public key, 64 bytes."""

    def sign(self, payload: bytes) -> bytes:
        """Return the envelope of a timestamp."""


class Releases:
    """The table `releases`. Keys: `root.<version>`, `release.<id>`, `floor.<class>`, and those of `_claim`."""

    def __init__(self, table: Table[Stored], images: ObjectStore, signer: Signer, now: Clock) -> None:
        self._table, self._images, self._signer, self._now = table, images, signer, now
        self._parsed: dict[tuple[str, int], Release] = {}

    # --- roots

    @property
    def timestamp_key(self) -> bytes:
        """Public half of the service's timestamp key."""
        return self._signer.public_key

    def root_envelope(self, version: int = 0) -> tuple[int, bytes]:
        """Return version and envelope of a root, of the current one for 0; (0, b"") if it does not exist."""
        version = version or self._version()
        row = self._table.get(f"root.{version}")
        return (version, row.value.signed.envelope) if row and row.value.signed else (0, b"")

    def root(self) -> Root:
        """Return the current root; raises NoRootError."""
        _, data = self.root_envelope()
        if not data:
            raise NoRootError
        return trust_codec.root(trust_codec.envelope(Role.ROOT, data).payload)

    @property
    def delegated(self) -> bool:
        """Whether the current root delegates to the service's timestamp key; raises NoRootError."""
        root = self.root()
        return self.timestamp_key in [root.keys[index] for index in root.timestamp.keys]

    async def set_root(self, data: bytes, bootstrap_sha256: str = "") -> int:
        """Set the first root or the next one; return its version. Idempotent.

        The first one requires `bootstrap_sha256` to be its digest. Raises TrustError, RootBootstrapError,
        RootDigestError, RootDiffersError, RootInForceError.
        """
        envelope = trust_codec.envelope(Role.ROOT, data)
        digest, in_force = root_sha256(data), self._version()
        if bootstrap_sha256 and bootstrap_sha256 != digest:
            raise RootDigestError(digest, bootstrap_sha256[:64])
        if in_force and digest == root_sha256(self.root_envelope()[1]):
            return in_force
        found = self._next_root(envelope, digest) if in_force else self._first_root(envelope, digest, bootstrap_sha256)
        if bootstrap_sha256 and in_force:
            raise RootInForceError(found.version, in_force)
        trust.check_expiry("root", found.expires_unix_s, int(self._now()))
        if not await write(self._table, None, f"root.{found.version}", Stored(Signed(data, self._now()))):
            raise trust.RootVersionError(f"a root of version {found.version} was set concurrently")
        _log.info("root set", extra={"version": found.version, "sha256": digest, "bootstrap": not in_force})
        return found.version

    def _first_root(self, envelope: Envelope, digest: str, bootstrap_sha256: str) -> Root:
        found = trust.check_first_root(trust_codec.root(envelope.payload), envelope, trust_codec.verify)
        if found.version != 1:
            raise trust.RootVersionError(f"the root has version {found.version}, the first one must have version 1")
        if not bootstrap_sha256:
            raise RootBootstrapError(digest)
        return found

    def _next_root(self, envelope: Envelope, digest: str) -> Root:
        trusted, found = self.root(), trust_codec.root(envelope.payload)
        _, known = self.root_envelope(found.version)
        if known and root_sha256(known) != digest:  # report the actual reason rather than a missing signature
            raise RootDiffersError(found.version, digest, root_sha256(known), trusted.version)
        if known:
            raise RootInForceError(found.version, trusted.version)
        return trust.check_next_root(trusted, found, envelope, trust_codec.verify)

    def roots_after(self, version: int) -> list[bytes]:
        """Return the envelopes of the roots after a version, in order."""
        return [self.root_envelope(v)[1] for v in range(version + 1, self._version() + 1)]

    def _version(self) -> int:
        return max((int(r.key[5:]) for r in self._table.rows() if r.key.startswith("root.")), default=0)

    # --- releases

    async def create(self, data: bytes) -> Release:
        """Create a release from a signed manifest whose image is stored; idempotent.

        Raises TrustError, ReleaseRefusedError.
        """
        envelope = trust_codec.envelope(Role.RELEASE, data)
        root = self.root()
        trust.check_signatures(root, Role.RELEASE, envelope, trust_codec.verify)
        manifest = trust_codec.manifest(envelope.payload)
        trust.check_release(root, manifest, envelope, trust_codec.verify, int(self._now()))
        release_id = trust.digest(envelope.payload).hex()
        if (row := self._table.get(f"release.{release_id}")) is not None:
            return self._release(row)
        check_new(manifest, self.all(), self.floor(manifest.device_class))
        image = await self._images.stat(manifest.image_sha256.hex())
        if image is None or image.size_bytes != manifest.image_size_bytes:
            raise ReleaseRefusedError(
                f"the image {manifest.image_sha256.hex()} of {manifest.image_size_bytes} bytes is not stored",
                hint="Upload it first: ygg ota upload IMAGE",
            )
        await self._claim(manifest, data)
        await write(self._table, None, f"release.{release_id}", Stored(Signed(data, self._now())))
        _log.info(
            "release created",
            extra={"release": release_id, "class": manifest.device_class, "sequence": manifest.sequence},
        )
        return self.get(release_id)

    async def _claim(self, manifest: Manifest, data: bytes) -> None:
        """Reserve version and sequence for this manifest by compare-and-set: the view may lag behind other replicas.

        Raises ReleaseRefusedError. The version comes first: if the sequence is refused, the image keeps its version.
        """
        name = hashlib.sha256(manifest.device_class.encode()).hexdigest()[:32]
        version = hashlib.sha256(manifest.version.encode()).hexdigest()[:32]
        for key in (f"version.{name}.{version}", f"sequence.{name}.{manifest.sequence}"):
            if await write(self._table, None, key, Stored(Signed(data, self._now()))):
                continue
            row = await self._table.fresh(key)
            if row is None or row.value.signed is None:
                continue
            taken = trust_codec.envelope(Role.RELEASE, row.value.signed.envelope)
            other = Release(trust.digest(taken.payload).hex(), trust_codec.manifest(taken.payload), row.value.signed)
            if other.id != trust.digest(trust_codec.envelope(Role.RELEASE, data).payload).hex():
                check_new(manifest, [other], 0)

    def get(self, release_id: str) -> Release:
        """Return a release by its id, or by a prefix of at least 8 digits; raises ReleaseNotFoundError."""
        row = self._table.get(f"release.{release_id}")
        if row:
            return self._release(row)
        found = [r for r in self.all() if len(release_id) >= 8 and r.id.startswith(release_id)]
        if len(found) != 1:
            raise ReleaseNotFoundError(release_id)
        return found[0]

    def find(self, release_id: str) -> Release | None:
        """Return a release like `get`, or None."""
        try:
            return self.get(release_id)
        except ReleaseNotFoundError:
            return None

    def all(self, device_class: str = "") -> Sequence[Release]:
        """Return all releases, of a class if given; newest first within a class."""
        found = [self._release(row) for row in self._table.rows() if row.key.startswith("release.")]
        found = [r for r in found if device_class in ("", r.manifest.device_class)]
        return sorted(found, key=lambda r: (r.manifest.device_class, -r.manifest.sequence))

    def before(self, release: Release) -> Release:
        """Return the previous offerable release of the class; raises NoEarlierReleaseError."""
        floor = self.floor(release.manifest.device_class)
        for other in self.all(release.manifest.device_class):
            if other.manifest.sequence < release.manifest.sequence and other.manifest.security_counter >= floor:
                return other
        raise NoEarlierReleaseError(release.manifest.device_class, release.manifest.sequence)

    def newest(self, device_class: str) -> int:
        """Return the greatest sequence of a class."""
        return trust.newest(r.manifest.sequence for r in self.all(device_class))

    def check_offerable(self, release: Release) -> None:
        """Raise TrustError if it must not be offered now: signatures under the current root, expiry, floor."""
        envelope = trust_codec.envelope(Role.RELEASE, release.signed.envelope)
        trust.check_release(self.root(), release.manifest, envelope, trust_codec.verify, int(self._now()))
        trust.check_counter(release.manifest, self.floor(release.manifest.device_class))

    def _release(self, row: Row[Stored]) -> Release:
        """Return the release of a row, parsed once per revision; it was verified when it was stored."""
        if (known := self._parsed.get((row.key, row.revision))) is not None:
            return known
        signed = row.value.signed
        if signed is None:
            raise ReleaseNotFoundError(row.key)
        manifest = trust_codec.manifest(trust_codec.envelope(Role.RELEASE, signed.envelope).payload)
        self._parsed[row.key, row.revision] = release = Release(row.key.removeprefix("release."), manifest, signed)
        return release

    # --- floors

    def floor(self, device_class: str) -> int:
        """Return the minimum security counter that may be offered to a class."""
        row = self._table.get(_floor_key(device_class))
        return row.value.floor if row else 0

    async def set_floor(self, device_class: str, counter: int) -> int:
        """Raise the floor, never lower it; return it. Raises InvalidRequestError for an invalid device class."""
        if not (1 <= len(device_class) <= trust.MAX_TEXT and device_class.isascii() and device_class.isprintable()):
            raise InvalidRequestError(
                f"a device class must be 1 to {trust.MAX_TEXT} printable ASCII characters", field="device_class"
            )
        _, after = await edit(
            self._table, _floor_key(device_class), Stored, lambda s: Stored(floor=max(s.floor, counter))
        )
        return after.floor

    # --- timestamps

    def stamp(self, device_id: str, nonce: bytes, release: Release, *, older: bool) -> bytes:
        """Return the signed statement, for one device in one session, that this release is the current offer."""
        payload = trust_codec.envelope(Role.RELEASE, release.signed.envelope).payload
        stamp = Timestamp(
            int(self._now()),
            self.newest(release.manifest.device_class),
            nonce,
            device_id,
            trust.digest(payload),
            older,
        )
        return self._signer.sign(trust_codec.timestamp_bytes(stamp))


def root_sha256(data: bytes) -> str:
    """Return the digest that identifies a root: SHA-256 of its signed bytes in hex, independent of signatures."""
    return trust.digest(trust_codec.envelope(Role.ROOT, data).payload).hex()


def _floor_key(device_class: str) -> str:
    return f"floor.{hashlib.sha256(device_class.encode()).hexdigest()[:32]}"
