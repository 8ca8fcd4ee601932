"""Limits how often refusals of devices are published: a refused device reconnects every few seconds."""

from __future__ import annotations

from collections import OrderedDict

from services.jotunheim_bridge.ports import Clock

REPEAT_INTERVAL_S = 60.0
"""Interval before the same refusal of the same device is published again, in seconds."""
MAX_REMEMBERED_DEVICES = 4096
"""Maximum devices with a remembered refusal; the oldest is evicted."""


class Refusals:
    """The last published refusal of each device."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._published: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def should_publish(self, device_id: str, reason: str) -> bool:
        """Return whether to publish this refusal, and record it if so."""
        now_s = self._clock.monotonic()
        before, at_s = self._published.get(device_id, ("", 0.0))
        if before == reason and now_s - at_s < REPEAT_INTERVAL_S:
            return False
        self._published[device_id] = reason, now_s
        self._published.move_to_end(device_id)
        if len(self._published) > MAX_REMEMBERED_DEVICES:
            self._published.popitem(last=False)
        return True
