"""Rules for uploads in parts: a part, like an image, is named by the SHA-256 of its bytes. Pure.

A stored part is therefore valid for every upload that lists it: uploads have no state of their own, concurrent uploads
of an image share parts, and none can corrupt another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from services.ota.errors import InvalidUploadError, PartMismatchError
from services.ota.model.images import Header, check_header

PART_BYTES = 256 * 1024
"""Size of a part, except the last."""
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Plan:
    """The announced image, and the SHA-256 of each part in lower-case hex."""

    header: Header
    parts: tuple[str, ...]

    def size(self, index: int) -> int:
        """Return the length of a part in bytes."""
        return min(PART_BYTES, self.header.size_bytes - index * PART_BYTES)

    def missing(self, stored: Collection[str]) -> list[int]:
        """Return the indexes of the parts that are not stored."""
        return [index for index, part in enumerate(self.parts) if part not in stored]


def plan(header: Header, digests: Sequence[bytes]) -> Plan:
    """Return the announced upload, validated; raises InvalidIdError or InvalidUploadError."""
    check_header(header)
    count = -(-header.size_bytes // PART_BYTES)
    if len(digests) != count:
        raise InvalidUploadError(
            f"the header lists {len(digests)} parts, an image of {header.size_bytes} bytes has {count}",
            hint=f"Split it into parts of {PART_BYTES} bytes.",
        )
    if any(len(digest) != _DIGEST_BYTES for digest in digests):
        raise InvalidUploadError(f"the digest of a part has {_DIGEST_BYTES} bytes")
    return Plan(header, tuple(digest.hex() for digest in digests))


def check_part(announced: Plan, index: int, data: bytes) -> str:
    """Return the digest of a part; raises PartMismatchError if it is not the announced one."""
    if index >= len(announced.parts):
        raise PartMismatchError(index, f"is out of range, {len(announced.parts)} were announced")
    if len(data) != announced.size(index):
        raise PartMismatchError(index, f"has {len(data)} bytes, {announced.size(index)} were announced")
    if hashlib.sha256(data).hexdigest() != announced.parts[index]:
        raise PartMismatchError(index, "does not match the announced digest")
    return announced.parts[index]
