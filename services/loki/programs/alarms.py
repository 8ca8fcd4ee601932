"""One alarm clock for all instances of a replica.

Alarms ring on a grid of GRAIN_S, up to that late and never early: alarms due within one grain cost one wake-up of this
process and one write to each worker, instead of one of each for every timer.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
from collections.abc import Callable

from services.loki.ports import Clock

GRAIN_S = 0.005
LOOK_S = 1.0
STEP_S = 0.5
"""How often the wall clock is looked at, and by how much it must have left the monotonic one to have been stepped."""
Ring = Callable[[], None]
_log = logging.getLogger(__name__)


class Alarms:
    """Who is to be rung, and when. Everybody has at most one alarm."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: dict[int, tuple[float, Ring]] = {}
        self._heap: list[tuple[float, int]] = []
        self._handle: asyncio.TimerHandle | None = None
        self._handle_s = math.inf
        self._stepped: dict[int, Ring] = {}
        self._offset_s = 0.0
        self._look: asyncio.TimerHandle | None = None

    def on_step(self, owner: int, call: Ring | None) -> None:
        """`call` is called after each step of the wall clock, within LOOK_S; None: no more."""
        if call is None:
            self._stepped.pop(owner, None)
            return
        self._stepped[owner] = call
        if self._look is None:
            self._offset_s = self._offset()
            self._look = asyncio.get_running_loop().call_later(LOOK_S, self._looks)

    def _looks(self) -> None:
        self._look = None
        offset_s = self._offset()
        if abs(offset_s - self._offset_s) >= STEP_S:
            _log.warning("the wall clock was stepped", extra={"by_s": round(offset_s - self._offset_s, 3)})
            for call in list(self._stepped.values()):
                call()
        self._offset_s = offset_s
        if self._stepped:
            self._look = asyncio.get_running_loop().call_later(LOOK_S, self._looks)

    def _offset(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def set(self, owner: int, due_s: float | None, ring: Ring) -> None:
        """Call `ring` when it is due; replaces the previous alarm of `owner`. `due_s` None only removes that one."""
        if due_s is None:
            self._due.pop(owner, None)
            return
        known = self._due.get(owner)
        if known is None or known[0] != due_s:
            self._due[owner] = due_s, ring
            heapq.heappush(self._heap, (due_s, owner))
            if len(self._heap) > 64 + 4 * len(self._due):  # alarms that were set again leave their old entries behind
                self._heap = [(due, number) for number, (due, _) in self._due.items()]
                heapq.heapify(self._heap)
            self._wake_at(due_s)

    def _wake_at(self, due_s: float) -> None:
        """On the grid; earlier than was meant so far where need be."""
        at_s = math.ceil(due_s / GRAIN_S) * GRAIN_S
        if at_s >= self._handle_s:
            return
        if self._handle is not None:
            self._handle.cancel()
        delay_s = max(0.0, at_s - self._clock.monotonic())
        self._handle_s, self._handle = at_s, asyncio.get_running_loop().call_later(delay_s, self._rings)

    def _rings(self) -> None:
        self._handle, self._handle_s = None, math.inf
        now_s, rung = self._clock.monotonic() + GRAIN_S / 10, list[Ring]()
        while self._heap and self._heap[0][0] <= now_s:
            due_s, owner = heapq.heappop(self._heap)
            known = self._due.get(owner)
            if known is not None and known[0] == due_s:
                del self._due[owner]
                rung.append(known[1])
        for ring in rung:
            ring()
        while self._heap and self._due.get(self._heap[0][1], (None,))[0] != self._heap[0][0]:
            heapq.heappop(self._heap)  # set again meanwhile, or removed
        if self._heap:
            self._wake_at(self._heap[0][0])
