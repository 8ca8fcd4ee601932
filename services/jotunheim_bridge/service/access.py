"""Recent access of devices that have a session here, had one, or negotiate one.

A device that is suspended while it negotiates, or that reconnects before the registry's index has its new state, must
not get a session: its last known access is cached and checked again when its session begins.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from services.domain.access import ACTIVE, denied_reason
from services.jotunheim_bridge.ports import DeviceFacts

MAX_CACHED_DEVICES = 4096


class AccessCache:
    """The last known facts of the MAX_CACHED_DEVICES devices that changed last."""

    def __init__(self) -> None:
        self._negotiating: Counter[str] = Counter()
        self._facts: OrderedDict[str, DeviceFacts] = OrderedDict()

    @contextmanager
    def negotiating(self, device_id: str) -> Iterator[None]:
        """Track the device while it negotiates."""
        self._negotiating[device_id] += 1
        try:
            yield
        finally:
            self._negotiating[device_id] -= 1
            if not self._negotiating[device_id]:
                del self._negotiating[device_id]

    def tracks(self, device_id: str) -> bool:
        """Return whether changes of the device are to be cached."""
        return device_id in self._negotiating or device_id in self._facts

    def put(self, device_id: str, facts: DeviceFacts) -> None:
        """Cache the registry's current facts of a device; evict the oldest if the cache is full."""
        self._facts[device_id] = facts
        self._facts.move_to_end(device_id)
        if len(self._facts) > MAX_CACHED_DEVICES:
            self._facts.popitem(last=False)

    def denied_state(self, device_id: str) -> str:
        """Return the state of a device that was denied access, or `revoked` if its certificate was."""
        facts = self._facts.get(device_id)
        return "" if facts is None else "revoked" if facts.state == ACTIVE else facts.state

    def denied_reason(self, device_id: str, certified_unix_s: float) -> str:
        """Return why the cached facts deny the device access, or "" if they do not."""
        facts = self._facts.get(device_id)
        return "" if facts is None else denied_reason(device_id, facts.state, facts.revoked_unix_s, certified_unix_s)
