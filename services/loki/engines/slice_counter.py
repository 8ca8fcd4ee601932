"""The number of slices that a worker has ended, in memory that it shares with the service.

A worker delays its responses while it has more to do, so the frames that the service has received do not identify the
running slice. This counter does, even after the worker is killed. Written by the worker alone; no script
has a way to it. ygg/wire.scm is the same for Guile.
"""

from __future__ import annotations

import mmap
import os

SIZE = 4
_WRAP = 1 << 32


class SliceCounter:
    """A counter in the first SIZE bytes of a file of memory, in the machine's own byte order."""

    def __init__(self, fd: int) -> None:
        """Maps it; the descriptor can be closed afterwards."""
        self._memory = mmap.mmap(fd, SIZE)
        self._count = memoryview(self._memory).cast("I")

    def add(self) -> None:
        """A slice has ended: its answer is about to be sent."""
        self._count[0] = (self._count[0] + 1) % _WRAP

    def beyond(self, known: int) -> int:
        """Return the number of slices that have ended beyond `known`."""
        return (self._count[0] - known) % _WRAP


def create() -> int:
    """Return the descriptor of a new counter, 0; the caller's to close."""
    fd = os.memfd_create("ygg-slices")
    os.ftruncate(fd, SIZE)
    return fd
