"""The machine's clocks, injected wherever time matters, so that tests have their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime


class SteadyTime:
    """Seconds since 1970 that go on with the monotonic clock: for what is measured, not for what is shown or expires.

    A step of the wall clock changes nothing; the next process begins with the wall clock as it is then.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic, self._offset_s = monotonic, wall() - monotonic()

    def __call__(self) -> float:
        """The time."""
        return self._offset_s + self._monotonic()


class SystemClock:
    """Wall clock and monotonic clock."""

    def now(self) -> datetime:
        """UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds, never going back; the event loop's own clock."""
        return time.monotonic()
