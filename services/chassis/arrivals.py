"""From accept to a peer that is known: how many connections are let in, and how many are worked at.

    accept ──► UNHEARD ──whole ClientHello──► WAITING ──a slot is free──► SLOT: TLS, then e.g. negotiation ──► done
       │          │ 10 s                         │ 10 s                      │ TLS: 10 s, less where others wait
       ▼          ▼                              ▼                           ▼
    turned away   closed                         closed                      closed

Every port that anybody can reach uses it: the device link, images, enrolment. A storm of devices must not have all its
handshakes begun and none of them finished in time: TLS costs nothing here until its turn comes. A peer that sends its
ClientHello byte by byte is looked at twice, by the kernel's low-water mark (socket(7), SO_RCVLOWAT), and holds no slot.
Turns go round by address, and one address never holds more than half of the slots, so a crowd of half-done handshakes
from one place leaves the other half to the rest; nor may it hold more than half of the free room with connections that
say nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import resource
import select
import socket
import ssl
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from services.chassis.logs import Throttle
from services.domain import endpoints

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
BACKLOG = 4096
MAX_DESCRIPTORS = 1_000_000
_OTHER_DESCRIPTORS = 256
"""Kept for all that is no arrival: NATS, other services, callers, logs."""
_log = logging.getLogger(__name__)
_throttle = Throttle()


class Clock(Protocol):
    """Time, injected."""

    def monotonic(self) -> float:
        """Seconds, never going back."""


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
    """Connections held at most, and how many of them are worked at before they are done."""

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
    _unheard_of: Counter[str] = field(default_factory=Counter)
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
                _throttle.log(_log, logging.WARNING, "cannot accept", why=e.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                loop.call_later(_NO_ROOM_PAUSE_S, self._accept_again, listening)
                return
            source, room = source_of(str(address[0])), self.bounds.connections - self.count - self.held()
            silent = self._unheard_of[source]
            if room <= 0 or silent > (room + silent) // 2:
                self.turned_away += 1
                plain.close()
                continue
            plain.setblocking(False)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _HEADER_BYTES)
            arrival = Arrival(plain, source, self.clock.monotonic())
            self._unheard[arrival] = None
            self._unheard_of[source] += 1
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
        self._heard(arrival)
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

    def _heard(self, arrival: Arrival) -> None:
        del self._unheard[arrival]
        self._unheard_of[arrival.source] -= 1
        if not self._unheard_of[arrival.source]:
            del self._unheard_of[arrival.source]
        asyncio.get_running_loop().remove_reader(arrival.plain)

    def _drop(self, arrival: Arrival) -> None:
        arrival.gone = True
        if arrival in self._unheard:
            self._heard(arrival)
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
            why = str(e) or type(e).__name__
            if isinstance(e, ssl.SSLCertVerificationError):  # a device of ours it may be, whose certificate has ended
                _throttle.log(
                    _log, logging.WARNING, "certificate refused", about=arrival.source, why=e.verify_message or why
                )
            else:
                _log.debug("no TLS", extra={"peer": arrival.source, "why": why})
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
            _throttle.log(_log, logging.WARNING, "connections turned away", count=more, limit=self.bounds.connections)


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


async def bound(listen: str) -> socket.socket:
    """A socket that listens on HOST:PORT and does not block; raises OSError."""
    host, port = endpoints.split(listen)
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    listening = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    listening.setblocking(False)
    return listening


def raise_descriptor_limit() -> int:
    """Raise the soft limit of descriptors to the hard one, at most MAX_DESCRIPTORS; returns what holds then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(MAX_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def affordable(connections: int) -> int:
    """As many connections as were asked for, or as the process may have descriptors for."""
    return max(1, min(connections, raise_descriptor_limit() - _OTHER_DESCRIPTORS))
