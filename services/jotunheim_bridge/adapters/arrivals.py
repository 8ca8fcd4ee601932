"""From accept to contract: how many connections are let in, and how many are worked at.

    accept ──► UNHEARD ──whole ClientHello──► WAITING ──a slot is free──► SLOT: TLS, then negotiation ──► contract
       │          │ 10 s                         │ 10 s                      │ TLS: 10 s, less where others wait
       ▼          ▼                              ▼                           ▼
    turned away   closed                         closed                      closed

A storm of devices must not have all its handshakes begun and none of them finished in time: TLS costs nothing here
until its turn comes. A peer that sends its ClientHello byte by byte is looked at twice, by the kernel's low-water mark
(socket(7), SO_RCVLOWAT), and holds no slot. Turns go round by address, and one address never holds more than half of
the slots, so a crowd of half-done handshakes from one place leaves the other half to the rest.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import select
import socket
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from services.jotunheim_bridge.ports import Clock

WAITING_S = 10.0
"""From accept to a slot."""
PRESSED_S = 3.0
"""How long a slot is held at least while others wait. Then TLS that is not done is given up; a negotiation goes on."""
PRESSED_TIMES = 4.0
"""Or so many times as long as TLS took lately: a machine that is slow itself gives up nobody for it."""
_LATELY = 0.1
_ACCEPTED_AT_ONCE = 64
_NO_ROOM_PAUSE_S = 1.0
_HEADER_BYTES, _HANDSHAKE_RECORD, _MAX_RECORD_BYTES = 5, 22, 2**14
_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Arrival:
    """A connection on its way in. `source` is who it counts for."""

    plain: socket.socket
    source: str
    since_s: float
    wanted_bytes: int = _HEADER_BYTES
    gone: bool = False
    holds_slot: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """Connections held at most, and how many of them are worked at before they have their contract."""

    connections: int
    slots: int


Handshake = Callable[[Arrival], Awaitable[None]]
"""TLS of an arrival; raises OSError where it fails. Whoever has the connection then calls `done`."""


@dataclass
class Arrivals:
    """Accepts on `listening`; `held` says how many connections are past their handshake."""

    bounds: Bounds
    clock: Clock
    handshake: Handshake
    held: Callable[[], int]
    turned_away: int = 0
    count: int = 0
    """Connections on their way in, up to the end of TLS."""
    _listening: list[socket.socket] = field(default_factory=list)
    _unheard: dict[Arrival, None] = field(default_factory=dict)
    _waiting: OrderedDict[str, deque[Arrival]] = field(default_factory=OrderedDict)
    _slots: dict[Arrival, float] = field(default_factory=dict)
    _shaking: dict[Arrival, asyncio.Task[None]] = field(default_factory=dict)
    _of_source: Counter[str] = field(default_factory=Counter)
    _turned_away_told: int = 0
    _usual_s: float = 0.0

    def listen(self, listening: socket.socket) -> None:
        """Takes connections of a socket that listens and does not block."""
        self._listening.append(listening)
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def stop(self) -> None:
        """Takes no more, and drops those that have not begun."""
        loop = asyncio.get_running_loop()
        for listening in self._listening:
            loop.remove_reader(listening)
            listening.close()
        self._listening.clear()
        for arrival in (*self._unheard, *(one for line in self._waiting.values() for one in line)):
            self._drop(arrival)
        self._waiting.clear()
        for task in self._shaking.values():
            task.cancel()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                plain, address = listening.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError as e:  # no descriptors or memory: the backlog holds them for a while
                _log.warning("cannot accept", extra={"why": e.strerror})
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                loop.call_later(_NO_ROOM_PAUSE_S, self._accept_again, listening)
                return
            if self.count + self.held() >= self.bounds.connections:
                self.turned_away += 1
                plain.close()
                continue
            plain.setblocking(False)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _HEADER_BYTES)
            arrival = Arrival(plain, source_of(str(address[0])), self.clock.monotonic())
            self._unheard[arrival] = None
            self.count += 1
            asyncio.get_running_loop().add_reader(plain, self._look, arrival)

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._listening:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _look(self, arrival: Arrival) -> None:
        """There are as many bytes as were wanted, or the peer has closed."""
        if not self._is_whole(arrival):
            if arrival.gone:
                self._drop(arrival)
            return
        del self._unheard[arrival]
        asyncio.get_running_loop().remove_reader(arrival.plain)
        arrival.plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self._waiting.setdefault(arrival.source, deque()).append(arrival)
        self._admit()

    def _is_whole(self, arrival: Arrival) -> bool:
        """Whether the first TLS record is there (RFC 8446, section 5.1); `gone` where it never will be."""
        try:
            seen = arrival.plain.recv(arrival.wanted_bytes, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            seen = b""
        length = int.from_bytes(seen[3:_HEADER_BYTES], "big")
        if len(seen) < arrival.wanted_bytes or seen[0] != _HANDSHAKE_RECORD or not 0 < length <= _MAX_RECORD_BYTES:
            arrival.gone = True
            return False
        if arrival.wanted_bytes > _HEADER_BYTES:
            return True
        arrival.wanted_bytes += length
        arrival.plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, arrival.wanted_bytes)
        return False  # the loop looks again at once where the rest has come already

    def _drop(self, arrival: Arrival) -> None:
        arrival.gone = True
        if arrival in self._unheard:
            del self._unheard[arrival]
            asyncio.get_running_loop().remove_reader(arrival.plain)
        self.count -= 1
        arrival.plain.close()

    def _admit(self) -> None:
        while len(self._slots) < self.bounds.slots:
            arrival = self._next()
            if arrival is None:
                return
            self._slots[arrival] = self.clock.monotonic()
            self._of_source[arrival.source] += 1
            arrival.holds_slot = True
            self._shaking[arrival] = asyncio.get_running_loop().create_task(self._shake(arrival))

    def _next(self) -> Arrival | None:
        """The one whose turn it is: the oldest of the next address that does not hold its share."""
        share = max(1, self.bounds.slots // 2)
        for source in list(self._waiting):
            line = self._waiting[source]
            while line and self._of_source[source] < share:
                arrival = line.popleft()
                if _has_left(arrival):
                    self._drop(arrival)
                    continue
                self._waiting.move_to_end(source)
                if not line:
                    del self._waiting[source]
                return arrival
            if not line:
                del self._waiting[source]
        return None

    async def _shake(self, arrival: Arrival) -> None:
        secure = False
        try:
            await self.handshake(arrival)
            secure = True
            if arrival in self._slots:
                took_s = self.clock.monotonic() - self._slots[arrival]
                self._usual_s += _LATELY * (took_s - self._usual_s)
        except (OSError, asyncio.CancelledError) as e:  # TLS that fails raises an OSError; so does one that is late
            _log.debug("no TLS", extra={"peer": arrival.source, "why": str(e) or type(e).__name__})
        finally:
            self.count -= 1
            del self._shaking[arrival]
            if not secure:
                self.done(arrival)

    def done(self, arrival: Arrival) -> None:
        """It has its contract, or is over: the next one's turn. Harmless when repeated."""
        if not arrival.holds_slot:
            return
        arrival.holds_slot = False
        del self._slots[arrival]
        self._of_source[arrival.source] -= 1
        if not self._of_source[arrival.source]:
            del self._of_source[arrival.source]
        if self._listening:
            self._admit()

    def sweep(self) -> None:
        """Once a second: drops who has waited too long, and takes slots from who holds them while others wait."""
        now_s = self.clock.monotonic()
        for arrival in [one for one in self._unheard if now_s - one.since_s > WAITING_S]:
            self._drop(arrival)
        for source, line in list(self._waiting.items()):
            while line and now_s - line[0].since_s > WAITING_S:
                self._drop(line.popleft())
            if not line:
                del self._waiting[source]
        if self._waiting:
            long_s = max(PRESSED_S, PRESSED_TIMES * self._usual_s)
            for arrival in [one for one, since_s in self._slots.items() if now_s - since_s > long_s]:
                if arrival in self._shaking:
                    self._shaking[arrival].cancel()
                else:
                    self.done(arrival)
        if self.turned_away > self._turned_away_told:
            more, self._turned_away_told = self.turned_away - self._turned_away_told, self.turned_away
            _log.warning("connections turned away", extra={"count": more, "limit": self.bounds.connections})


def source_of(host: str) -> str:
    """Who an address counts for: itself, and in IPv6 its /64, which is one site's (RFC 6177)."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)


def _has_left(arrival: Arrival) -> bool:
    """Whether the peer has closed meanwhile: its handshake would be work for nobody."""
    poll = select.poll()
    poll.register(arrival.plain, select.POLLRDHUP)
    return bool(poll.poll(0))
