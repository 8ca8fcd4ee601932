"""What is kept of roots, releases and floors, and which of them may be offered. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.domain import trust
from services.domain.trust import Manifest
from services.ota.errors import ReleaseRefusedError
from services.ota.model.update import OtaStatus

CHUNK_OVERHEAD_BYTES = 32
"""Of a frame with a chunk, beyond chunk and audit path: envelope, update id, offset, lengths."""


@dataclass(frozen=True, slots=True)
class Signed:
    """An envelope as it came, and when."""

    envelope: bytes
    create_unix_s: float


@dataclass(frozen=True, slots=True)
class Release:
    """A manifest that was signed and checked. `id` is the SHA-256 of its signed bytes, in hex."""

    id: str
    manifest: Manifest
    signed: Signed

    @property
    def image_sha256(self) -> str:
        """Of its image, in hex."""
        return self.manifest.image_sha256.hex()


@dataclass(frozen=True, slots=True)
class Stored:
    """A value of the bucket `releases`: a root's or manifest's envelope, or a class's floor."""

    signed: Signed | None = None
    floor: int = 0


def check_new(manifest: Manifest, others: Iterable[Release], floor: int) -> None:
    """Raises ReleaseRefusedError if the class has this sequence already, or another image under this version.

    One image may be released again under its version, as with a later expiry. Raises CounterError below the floor.
    """
    trust.check_counter(manifest, floor)
    same = [r for r in others if r.manifest.device_class == manifest.device_class]
    if any(r.manifest.sequence == manifest.sequence for r in same):
        raise ReleaseRefusedError(
            f"{manifest.device_class} has a release {manifest.sequence} already",
            hint=f"The next sequence is {trust.newest(r.manifest.sequence for r in same) + 1}.",
        )
    for other in same:
        if other.manifest.version == manifest.version and other.manifest.image_sha256 != manifest.image_sha256:
            raise ReleaseRefusedError(
                f"{manifest.device_class} has another image of version {manifest.version} already: "
                f"release {other.manifest.sequence}, id {other.id[:12]}, image {other.image_sha256[:12]}",
                hint="Give this image a version of its own.",
                release=other.id,
            )


def frame_bytes(manifest: Manifest, size_bytes: int) -> int:
    """The largest frame that a chunk of so long an image or patch needs."""
    count = -(-size_bytes // manifest.chunk_size_bytes)
    return manifest.chunk_size_bytes + 32 * max(0, count - 1).bit_length() + CHUNK_OVERHEAD_BYTES


def unfit(release: Release, status: OtaStatus, floor: int) -> str:
    """Why a device cannot take the release, "" where it can; in words for people."""
    manifest, least = release.manifest, max(status.security_counter, floor)
    needed = frame_bytes(manifest, manifest.image_size_bytes)
    reasons = (
        (not status.slot_size_bytes, "it has not offered the feature ota"),
        (status.image_sha256 == release.image_sha256, "it runs this image already"),
        (status.device_class != manifest.device_class, f"its class is {status.device_class}"),
        (
            status.slot_size_bytes != manifest.slot_size_bytes,
            f"its slots have {status.slot_size_bytes} bytes, the release is for {manifest.slot_size_bytes}",
        ),
        (manifest.security_counter < least, f"the security counter {manifest.security_counter} is below {least}"),
        (
            needed > status.rx_frame_bytes,
            f"a chunk needs frames of {needed} bytes, it takes {status.rx_frame_bytes}",
        ),
    )
    return next((why for applies, why in reasons if applies), "")
