"""The machine's clocks, injected wherever time matters, so that tests have their own."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """Wall clock and monotonic clock."""

    def now(self) -> datetime:
        """UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds, never going back; the event loop's own clock."""
        return time.monotonic()
