"""The TLS listener of the device link: its sockets, its TLS context, its sweep, its end.

Who is let in when is `arrivals`; a connection is `connection`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass

from services.chassis.arrivals import Arrival, Arrivals, Bounds, bound
from services.domain import endpoints
from services.jotunheim_bridge.adapters.connection import ALPN, CLOSE_GRACE_S, DeviceConnection
from services.jotunheim_bridge.adapters.memory import map_large_blocks
from services.jotunheim_bridge.ports import Clock
from services.jotunheim_bridge.service.bridge import Bridge

HANDSHAKE_TIMEOUT_S = 10.0
KERNEL_BUFFER_BYTES = 64 * 1024
"""What the kernel holds for a device that does not read; by itself it would go to megabytes for each."""
_POLL_INTERVAL_S = 0.02


@dataclass(frozen=True, slots=True)
class Link:
    """How devices are served. The heartbeat is in seconds."""

    context: ssl.SSLContext
    heartbeat_s: float
    bounds: Bounds


class DeviceListener:
    """Listens for devices."""

    def __init__(self, bridge: Bridge, clock: Clock, link: Link) -> None:
        map_large_blocks()
        self._bridge, self._clock, self._link = bridge, clock, link
        self._open: set[DeviceConnection] = set()
        self._arrivals = Arrivals(link.bounds, clock, self._handshake, lambda: len(self._open))
        link.context.set_alpn_protocols([ALPN])
        link.context.num_tickets = 1  # a device keeps one

    async def start(self, listen: str) -> str:
        """Binds HOST:PORT; returns it as bound."""
        listening = await bound(listen)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER_BYTES)  # what is accepted inherits it
        self._arrivals.listen(listening)
        return endpoints.join(endpoints.split(listen)[0], listening.getsockname()[1])

    async def _handshake(self, arrival: Arrival) -> None:
        def made() -> DeviceConnection:
            return DeviceConnection(self._bridge, self._clock, self._open, lambda: self._arrivals.done(arrival))

        await asyncio.get_running_loop().connect_accepted_socket(
            made,
            arrival.plain,
            ssl=self._link.context,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            ssl_shutdown_timeout=CLOSE_GRACE_S,
        )

    async def sweep(self) -> None:
        """Looks once a second for silent devices and for arrivals that take too long, until cancelled."""
        while True:
            await asyncio.sleep(1)
            self._arrivals.sweep()
            for connection in tuple(self._open):
                connection.sweep(self._link.heartbeat_s)

    async def stop(self, others: list[str]) -> None:
        """Takes no new devices and says goodbye to those there are; `others` (HOST:PORT) is where they may go."""
        self._arrivals.stop()
        await self._bridge.drain(others)
        for connection in tuple(self._open):
            connection.close()
        for _ in range(int(CLOSE_GRACE_S / _POLL_INTERVAL_S)):
            if not self._open:
                return
            await asyncio.sleep(_POLL_INTERVAL_S)
