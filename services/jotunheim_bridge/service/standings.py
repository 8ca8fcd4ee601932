"""What the registry has told lately of devices that are here, were here, or are on their way in.

A device that is suspended while it negotiates, or that comes back faster than the registry's index has heard of it,
must not slip in: what was told is remembered and asked once more when its session begins.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from services.domain.standing import ACTIVE, objection
from services.jotunheim_bridge.ports import DeviceFacts

REMEMBERED = 4096


class Standings:
    """The last thing told of each such device, of the last REMEMBERED of them."""

    def __init__(self) -> None:
        self._arriving: Counter[str] = Counter()
        self._told: OrderedDict[str, DeviceFacts] = OrderedDict()

    @contextmanager
    def arriving(self, device_id: str) -> Iterator[None]:
        """While a device negotiates, all that is told of it is remembered."""
        self._arriving[device_id] += 1
        try:
            yield
        finally:
            self._arriving[device_id] -= 1
            if not self._arriving[device_id]:
                del self._arriving[device_id]

    def concern(self, device_id: str) -> bool:
        """Whether what is told of the device is of use."""
        return device_id in self._arriving or device_id in self._told

    def tell(self, device_id: str, facts: DeviceFacts) -> None:
        """Remembers what the registry holds of a device now."""
        self._told[device_id] = facts
        self._told.move_to_end(device_id)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)

    def denied(self, device_id: str) -> str:
        """In one word why a device that was objected to may not be here: its state, or `revoked`."""
        facts = self._told.get(device_id)
        return "" if facts is None else "revoked" if facts.state == ACTIVE else facts.state

    def objection(self, device_id: str, certified_unix_s: float) -> str:
        """Why the device may not be here by what was told; empty where nothing speaks against it."""
        facts = self._told.get(device_id)
        return "" if facts is None else objection(device_id, facts.state, facts.revoked_unix_s, certified_unix_s)
