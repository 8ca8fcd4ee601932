"""How the C library lays out what a TLS connection costs.

uvloop gives each one a buffer of 256 KiB, of which a page or two are ever touched. Left to itself glibc soon takes such
blocks from the heap (mallopt(3), M_MMAP_THRESHOLD is dynamic), where pages that others have touched lie under them.
Mapped by themselves they cost what is touched: 6 of 58 KiB a device, measured with 500.
"""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 128 * 1024


def map_large_blocks() -> bool:
    """Has blocks from 128 KiB on mapped by themselves for the life of the process; False where the C library cannot."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES))
