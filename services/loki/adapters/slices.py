"""The running slice of a worker of many programs: its turn and its start.

The worker handles frames in the order in which they were sent, and each TURN, EVENT, ANSWER and STOP makes it run one
slice that ends in exactly one CALL, DONE or FAIL. It counts each end immediately and may send it later. Of the
unanswered frames, the counter shows how many have run; the next one is running, and is responsible if the process
exits.

    sent      [ 4  7  4  9  2 ]        counter: two more than have been received
                     ^ runs
"""

from __future__ import annotations

from collections import deque

from services.loki.engines.slice_counter import SliceCounter
from services.loki.engines.wire import WireError


class Slices:
    """The slices of one worker, by the numbers of their turns."""

    def __init__(self, counter: SliceCounter) -> None:
        self._counter = counter
        self._sent: deque[int] = deque()
        self._received = self._seen = 0
        self._since_s: float | None = None

    def __contains__(self, turn: int) -> bool:
        return turn in self._sent

    def begin(self, turn: int) -> None:
        """Record a sent frame that runs a slice of this turn."""
        self._sent.append(turn)

    def first(self, turn: int) -> None:
        """Raise WireError if the next frame cannot be of this turn."""
        if not self._sent or self._sent[0] != turn:
            raise WireError(f"a frame of turn {turn}, which does not run")

    def over(self, turn: int) -> None:
        """Record the received end of its slice; raise WireError if it had no slice."""
        self.first(turn)
        self._sent.popleft()
        self._received = (self._received + 1) % 2**32

    def running(self) -> int:
        """Return the turn of the running slice, 0 for none."""
        ended = self._counter.beyond(self._received)
        return self._sent[ended] if ended < len(self._sent) else 0

    def computes_s(self, now_s: float) -> float:
        """Return the time since the running slice was first seen by this method."""
        ended = self._counter.beyond(0)
        if not self.running():
            self._since_s = None
        elif self._since_s is None or ended != self._seen:
            self._seen, self._since_s = ended, now_s
        return 0.0 if self._since_s is None else now_s - self._since_s

    def clear(self) -> None:
        """Drop all slices."""
        self._sent.clear()
