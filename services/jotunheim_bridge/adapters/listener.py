"""The TLS listener of the device link: sockets, TLS context, sweep, drain.

`arrivals` decides which connection is accepted when; `connection` owns an accepted one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass

from services.chassis.arrivals import Arrival, Arrivals, Bounds, open_listener
from services.domain import endpoints
from services.jotunheim_bridge.adapters.connection import ALPN, CLOSE_GRACE_S, DeviceConnection
from services.jotunheim_bridge.adapters.memory import map_large_blocks
from services.jotunheim_bridge.ports import Clock
from services.jotunheim_bridge.service.bridge import Bridge

HANDSHAKE_TIMEOUT_S = 10.0
KERNEL_BUFFER_BYTES = 64 * 1024
"""Socket send buffer of a device that does not read; the kernel's default grows to megabytes each."""
_POLL_INTERVAL_S = 0.02


@dataclass(frozen=True, slots=True)
class Link:
    """How devices are served. The heartbeat is in seconds."""

    context: ssl.SSLContext
    heartbeat_s: float
    bounds: Bounds


class DeviceListener:
    """Accepts device connections."""

    def __init__(self, bridge: Bridge, clock: Clock, link: Link) -> None:
        map_large_blocks()
        self._bridge, self._clock, self._link = bridge, clock, link
        self._open: set[DeviceConnection] = set()
        self._arrivals = Arrivals(link.bounds, clock, self._handshake, lambda: len(self._open))
        link.context.set_alpn_protocols([ALPN])
        link.context.num_tickets = 1  # a device keeps only one

    async def start(self, listen: str) -> str:
        """Bind HOST:PORT and return the bound address."""
        listening = await open_listener(listen)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER_BYTES)  # accepted sockets inherit it
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
        """End silent devices and stalled handshakes, once a second, until cancelled."""
        while True:
            await asyncio.sleep(1)
            self._arrivals.sweep()
            for connection in tuple(self._open):
                connection.sweep(self._link.heartbeat_s)

    async def stop(self, others: list[str]) -> None:
        """Stop accepting and drain all sessions; `others` (HOST:PORT) are bridges that devices may reconnect to."""
        self._arrivals.stop()
        await self._bridge.drain(others)
        for connection in tuple(self._open):
            connection.close()
        for _ in range(int(CLOSE_GRACE_S / _POLL_INTERVAL_S)):
            if not self._open:
                return
            await asyncio.sleep(_POLL_INTERVAL_S)
