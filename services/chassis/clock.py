"""The machine's clocks, injected wherever time matters, so that tests can replace them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime


class SteadyTime:
    """Unix time in seconds that advances with the monotonic clock: for measuring, not for display or expiry.

    A step of the wall clock has no effect; the next process starts from the wall clock at that time.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic, self._offset_s = monotonic, wall() - monotonic()

    def __call__(self) -> float:
        """Return the time in seconds since 1970."""
        return self._offset_s + self._monotonic()


class SystemClock:
    """Wall clock and monotonic clock."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back, the event loop's own."""
        return time.monotonic()
