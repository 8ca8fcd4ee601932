"""The rules on uploads in parts: a part is named by the SHA-256 of its bytes, as an image is. Pure.

So a part that is there is right, whoever sent it and for whichever image: nothing is kept about an upload itself,
two of the same image help each other, and none can spoil another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from services.ota.errors import InvalidUploadError, PartMismatchError
from services.ota.model.images import Header, check_header

PART_BYTES = 256 * 1024
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Plan:
    """What an uploader announces: the image, and the SHA-256 of each part in lower-case hex."""

    header: Header
    parts: tuple[str, ...]

    def size(self, index: int) -> int:
        """The length of a part in bytes."""
        return min(PART_BYTES, self.header.size_bytes - index * PART_BYTES)

    def missing(self, held: Collection[str]) -> list[int]:
        """The places of the parts that are not held."""
        return [index for index, part in enumerate(self.parts) if part not in held]


def plan(header: Header, digests: Sequence[bytes]) -> Plan:
    """What was announced, checked; raises InvalidIdError or InvalidUploadError."""
    check_header(header)
    count = -(-header.size_bytes // PART_BYTES)
    if len(digests) != count:
        raise InvalidUploadError(
            f"the header names {len(digests)} parts, an image of {header.size_bytes} bytes has {count}",
            hint=f"Cut it into {PART_BYTES} bytes each.",
        )
    if any(len(digest) != _DIGEST_BYTES for digest in digests):
        raise InvalidUploadError(f"the digest of a part has {_DIGEST_BYTES} bytes")
    return Plan(header, tuple(digest.hex() for digest in digests))


def check_part(announced: Plan, index: int, data: bytes) -> str:
    """The name of the part that `data` is; raises PartMismatchError where the plan has another one there."""
    if index >= len(announced.parts):
        raise PartMismatchError(index, f"is none of {len(announced.parts)}")
    if len(data) != announced.size(index):
        raise PartMismatchError(index, f"has {len(data)} bytes, {announced.size(index)} were announced")
    if hashlib.sha256(data).hexdigest() != announced.parts[index]:
        raise PartMismatchError(index, "has another digest than was announced")
    return announced.parts[index]
