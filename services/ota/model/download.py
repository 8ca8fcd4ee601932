"""A token that grants one device one image, for 900 s or until its last byte was served. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace

from services.ota.errors import DownloadForbiddenError

LIFE_S = 900.0
TOKEN_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_RANGE = re.compile(r"bytes=(\d{1,12})-(\d{0,12})\Z")


@dataclass(frozen=True, slots=True)
class Download:
    """The grant of a token; stored under `key(token)`, so that the store reveals no tokens."""

    device_id: str
    image_sha256: str
    size_bytes: int
    expires_unix_s: float
    used: bool = False


def key(token: str) -> str:
    """Return the key of a token's record; raises DownloadForbiddenError if it is not a token."""
    if not _TOKEN.match(token):
        raise DownloadForbiddenError
    return hashlib.sha256(token.encode()).hexdigest()


def check(download: Download | None, device_id: str, now: float) -> Download:
    """Return the download if the device may fetch it; raises DownloadForbiddenError, which gives no reason."""
    if download is None or download.used or download.device_id != device_id or now >= download.expires_unix_s:
        raise DownloadForbiddenError
    return download


def used(download: Download) -> Download:
    """Return the download marked as used."""
    return replace(download, used=True)


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """Return start and length of a Range header (RFC 9110, section 14.1.2); the whole image without one.

    None if it cannot be satisfied. Only a single range of the form `bytes=first-[last]` is supported; others are
    ignored, as the RFC allows, and the whole image is sent.
    """
    match = _RANGE.match(header)
    if not match:
        return 0, size
    first, last = int(match[1]), int(match[2]) if match[2] else size - 1
    if first >= size or last < first:
        return None
    return first, min(last, size - 1) - first + 1
