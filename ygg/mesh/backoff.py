"""Exponential backoff for restarting a child process. Pure: time is an argument.

attempt   1     2     3     4     5    6    7 …
wait s   0.1   0.2   0.4   0.8   1.6  3.2  5.0
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_S = 0.1
MAX_S = 5.0
STEADY_S = 10.0
"""A child that ran at least this long resets its backoff, in seconds."""


@dataclass(slots=True)
class Backoff:
    """The backoff of one child. `restarts` counts every restart."""

    restarts: int = 0
    _in_a_row: int = 0
    _started_s: float = 0.0

    def started(self, now_s: float) -> None:
        """Record a start at `now_s`, in monotonic seconds."""
        self._started_s = now_s

    def ended(self, now_s: float) -> float:
        """Record an exit at `now_s`; return the seconds to wait before the next start."""
        if now_s - self._started_s >= STEADY_S:
            self._in_a_row = 0
        self._in_a_row += 1
        self.restarts += 1
        return min(MAX_S, FIRST_S * (1 << min(self._in_a_row - 1, 16)))
