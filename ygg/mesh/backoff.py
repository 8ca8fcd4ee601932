"""How long to wait before a child that ended is started again. Pure: the time comes in as an argument.

attempt   1     2     3     4     5    6    7 …
wait s   0.1   0.2   0.4   0.8   1.6  3.2  5.0
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_S = 0.1
MAX_S = 5.0
STEADY_S = 10.0
"""A child that ran at least this long was well: the next wait is the first one again."""


@dataclass(slots=True)
class Backoff:
    """The waits of one child. `restarts` counts all of them."""

    restarts: int = 0
    _in_a_row: int = 0
    _started_s: float = 0.0

    def started(self, now_s: float) -> None:
        """The child was started at `now_s`, monotonic seconds."""
        self._started_s = now_s

    def ended(self, now_s: float) -> float:
        """The child ended at `now_s`; returns the seconds to wait before the next start."""
        if now_s - self._started_s >= STEADY_S:
            self._in_a_row = 0
        self._in_a_row += 1
        self.restarts += 1
        return min(MAX_S, FIRST_S * (1 << min(self._in_a_row - 1, 16)))
