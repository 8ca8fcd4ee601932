"""Rate limit for frames that are bounded by neither credit nor window nor a call."""

from __future__ import annotations

from services.jotunheim_bridge.errors import LinkError
from services.jotunheim_bridge.ports import Clock
from yggdrasil.device.v1 import link_pb2 as link


class Meter:
    """Allows `limit` events in a window of `within_s` seconds; the next window starts when the last one was used up."""

    __slots__ = ("_clock", "_count", "_limit", "_noun", "_since_s", "_within_s")

    def __init__(self, limit: int, noun: str, within_s: float, clock: Clock) -> None:
        self._limit, self._noun, self._within_s, self._clock = limit, noun, within_s, clock
        self._count, self._since_s = 0, clock.monotonic()

    def count(self) -> None:
        """Count one event; raises LinkError FLOOD above the limit."""
        self._count += 1
        if self._count <= self._limit:
            return
        now_s = self._clock.monotonic()
        if now_s - self._since_s < self._within_s:
            raise LinkError(link.GOODBYE_CODE_FLOOD, f"more than {self._limit} {self._noun} in a heartbeat")
        self._count, self._since_s = 1, now_s
