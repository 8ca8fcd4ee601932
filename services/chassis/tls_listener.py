"""A TLS listener for public ports, with connections admitted by `arrivals`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from services.chassis.arrivals import Arrival, Arrivals, Bounds, Clock, open_listener
from services.chassis.errors import ListenError
from services.domain import endpoints

HANDSHAKE_TIMEOUT_S = 10.0
"""Maximum duration of TLS, in seconds."""
SHUTDOWN_TIMEOUT_S = 1.0
"""Maximum wait for the peer's close_notify, in seconds."""


class TlsListener:
    """Serves each connection with a protocol from `make`. `established` returns the number of connections past their
    handshake.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        bounds: Bounds,
        clock: Clock,
        make: Callable[[], asyncio.BaseProtocol],
        established: Callable[[], int],
    ) -> None:
        self._context, self._make = context, make
        self._arrivals = Arrivals(bounds, clock, self._handshake, established)

    async def start(self, listen: str) -> str:
        """Bind HOST:PORT; return it as bound. Raises ListenError. `sweep` must run concurrently."""
        try:
            listening = await open_listener(listen)
        except OSError as e:
            raise ListenError(
                f"cannot listen on {listen}", hint="The port is in use, or the address is not of this machine."
            ) from e
        self._arrivals.listen(listening)
        return endpoints.join(endpoints.split(listen)[0], listening.getsockname()[1])

    async def _handshake(self, arrival: Arrival) -> None:
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(
            self._make,
            arrival.plain,
            ssl=self._context,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        )
        loop.call_soon(self._arrivals.done, arrival)  # after the handshake's duration has been recorded

    async def sweep(self) -> None:
        """Sweep the arrivals once a second, until cancelled."""
        while True:
            await asyncio.sleep(1)
            self._arrivals.sweep()

    def stop(self) -> None:
        """Accept no more connections; open ones continue."""
        self._arrivals.stop()
