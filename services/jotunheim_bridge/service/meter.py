"""How much a device may send of what neither credit nor window nor a call bounds."""

from __future__ import annotations

from services.jotunheim_bridge.errors import LinkError
from services.jotunheim_bridge.ports import Clock
from yggdrasil.device.v1 import link_pb2 as link


class Meter:
    """Counts to `limit` in any stretch of `within_s` seconds that begins where the last one was used up."""

    __slots__ = ("_clock", "_count", "_limit", "_since_s", "_what", "_within_s")

    def __init__(self, limit: int, what: str, within_s: float, clock: Clock) -> None:
        self._limit, self._what, self._within_s, self._clock = limit, what, within_s, clock
        self._count, self._since_s = 0, clock.monotonic()

    def count(self) -> None:
        """One more; raises LinkError FLOOD where it is one too many."""
        self._count += 1
        if self._count <= self._limit:
            return
        now_s = self._clock.monotonic()
        if now_s - self._since_s < self._within_s:
            raise LinkError(link.GOODBYE_CODE_FLOOD, f"more than {self._limit} {self._what} in a heartbeat")
        self._count, self._since_s = 1, now_s
