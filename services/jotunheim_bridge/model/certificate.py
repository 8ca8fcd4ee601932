"""Rules for renewing a device's certificate over its link. Pure. docs/reference/protocol.md, "Certificates"."""

from __future__ import annotations

from yggdrasil.device.v1 import link_pb2 as link

LIFE_DIVISOR = 3
"""A certificate is renewed once less than 1 / LIFE_DIVISOR of its lifetime is left."""
MAX_REQUEST_BYTES = 1024
MAX_ISSUED_BYTES = 2048
MAX_SLICE_BYTES = 512
_SLICE_OVERHEAD_BYTES = 32


def due_unix_s(start_unix_s: float, end_unix_s: float) -> float:
    """Return when to renew a certificate that is valid from `start_unix_s` to `end_unix_s`."""
    return end_unix_s - (end_unix_s - start_unix_s) / LIFE_DIVISOR


def slices(certificates: bytes, frame_bytes: int) -> list[link.Frame]:
    """Return the frames that carry certificates to a device which receives at most `frame_bytes` in one frame."""
    step = min(MAX_SLICE_BYTES, frame_bytes - _SLICE_OVERHEAD_BYTES)
    return [
        link.Frame(
            certificate_issued=link.CertificateIssued(
                size_bytes=len(certificates), offset_bytes=offset, data=certificates[offset : offset + step]
            )
        )
        for offset in range(0, len(certificates), step)
    ]
