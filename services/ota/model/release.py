"""Stored roots, releases and floors, and the rules for offering a release. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.domain import trust
from services.domain.trust import Manifest
from services.ota.errors import ReleaseRefusedError
from services.ota.model.update import OtaStatus

CHUNK_OVERHEAD_BYTES = 32
"""Frame bytes beyond chunk and audit path: envelope, update id, offset, lengths."""


@dataclass(frozen=True, slots=True)
class Signed:
    """An envelope as received, and its time of arrival."""

    envelope: bytes
    create_unix_s: float


@dataclass(frozen=True, slots=True)
class Release:
    """A verified manifest. `id` is the SHA-256 of its signed bytes, in hex."""

    id: str
    manifest: Manifest
    signed: Signed

    @property
    def image_sha256(self) -> str:
        """Digest of its image, in hex."""
        return self.manifest.image_sha256.hex()


@dataclass(frozen=True, slots=True)
class Stored:
    """A value of the bucket `releases`: the envelope of a root or manifest, or the floor of a class."""

    signed: Signed | None = None
    floor: int = 0


def check_new(manifest: Manifest, others: Iterable[Release], floor: int) -> None:
    """Raise ReleaseRefusedError if the class already has this sequence, or another image under this version.

    The same image may be released again under its version, for example with a later expiry. Raises CounterError below
    the floor.
    """
    trust.check_counter(manifest, floor)
    same = [r for r in others if r.manifest.device_class == manifest.device_class]
    if any(r.manifest.sequence == manifest.sequence for r in same):
        raise ReleaseRefusedError(
            f"{manifest.device_class} already has a release {manifest.sequence}",
            hint=f"The next sequence is {trust.newest(r.manifest.sequence for r in same) + 1}.",
        )
    for other in same:
        if other.manifest.version == manifest.version and other.manifest.image_sha256 != manifest.image_sha256:
            raise ReleaseRefusedError(
                f"{manifest.device_class} already has another image of version {manifest.version}: "
                f"release {other.manifest.sequence}, id {other.id[:12]}, image {other.image_sha256[:12]}",
                hint="Use another version for this image.",
                release=other.id,
            )


def frame_bytes(manifest: Manifest, size_bytes: int) -> int:
    """Return the largest frame needed for a chunk of an image or patch of this size."""
    count = -(-size_bytes // manifest.chunk_size_bytes)
    return manifest.chunk_size_bytes + 32 * max(0, count - 1).bit_length() + CHUNK_OVERHEAD_BYTES


def unfit(release: Release, status: OtaStatus, floor: int) -> str:
    """Return why a device cannot install the release, in words for users, or "" if it can."""
    manifest, least = release.manifest, max(status.security_counter, floor)
    needed = frame_bytes(manifest, manifest.image_size_bytes)
    reasons = (
        (not status.slot_size_bytes, "the device has not agreed on the feature ota"),
        (status.image_sha256 == release.image_sha256, "the device already runs this image"),
        (status.device_class != manifest.device_class, f"the device class is {status.device_class}"),
        (
            status.slot_size_bytes != manifest.slot_size_bytes,
            f"its slots have {status.slot_size_bytes} bytes, the release requires {manifest.slot_size_bytes}",
        ),
        (manifest.security_counter < least, f"the security counter {manifest.security_counter} is below {least}"),
        (
            needed > status.rx_frame_bytes,
            f"a chunk needs frames of {needed} bytes, the device receives {status.rx_frame_bytes}",
        ),
    )
    return next((why for applies, why in reasons if applies), "")
