"""A TLS listener whose connections come through `arrivals`: for ports that anybody can reach."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from services.chassis.arrivals import Arrival, Arrivals, Bounds, Clock, bound
from services.chassis.errors import ListenError
from services.domain import endpoints

HANDSHAKE_TIMEOUT_S = 10.0
SHUTDOWN_TIMEOUT_S = 1.0


class TlsListener:
    """Each connection gets what `make` returns. `held` says how many connections are past their handshake."""

    def __init__(
        self,
        context: ssl.SSLContext,
        bounds: Bounds,
        clock: Clock,
        make: Callable[[], asyncio.BaseProtocol],
        held: Callable[[], int],
    ) -> None:
        self._context, self._make = context, make
        self._arrivals = Arrivals(bounds, clock, self._handshake, held)

    async def start(self, listen: str) -> str:
        """Bind HOST:PORT; return it as bound. Raises ListenError. `sweep` must run."""
        try:
            listening = await bound(listen)
        except OSError as e:
            raise ListenError(f"cannot listen on {listen}", hint="The port is taken, or not of this machine.") from e
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
        loop.call_soon(self._arrivals.done, arrival)  # when its time in the slot has been noted

    async def sweep(self) -> None:
        """Look once a second for arrivals that take too long, until cancelled."""
        while True:
            await asyncio.sleep(1)
            self._arrivals.sweep()

    def stop(self) -> None:
        """Take no more connections; those that there are go on."""
        self._arrivals.stop()
