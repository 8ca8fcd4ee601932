"""Which refusals of devices are published: a device that comes back every few seconds is not news each time."""

from __future__ import annotations

from collections import OrderedDict

from services.jotunheim_bridge.ports import Clock

REPEAT_INTERVAL_S = 60.0
"""How long the same refusal of the same device is not published again, in seconds."""
MAX_REMEMBERED_DEVICES = 4096
"""Devices whose last refusal is remembered; the one refused longest ago is forgotten first."""


class Refusals:
    """The last refusal of each device, and when it was published."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._published: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def should_publish(self, device_id: str, reason: str) -> bool:
        """Whether to publish this refusal; remembers it if so."""
        now_s = self._clock.monotonic()
        before, at_s = self._published.get(device_id, ("", 0.0))
        if before == reason and now_s - at_s < REPEAT_INTERVAL_S:
            return False
        self._published[device_id] = reason, now_s
        self._published.move_to_end(device_id)
        if len(self._published) > MAX_REMEMBERED_DEVICES:
            self._published.popitem(last=False)
        return True
