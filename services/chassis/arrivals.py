"""Admission of connections, from accept to the end of TLS: bounds on how many are open and how many are processed.

    accept ──► HELLO ──whole ClientHello──► WAITING ──a slot is free──► SLOT: TLS, then e.g. negotiation ──► done
       │         │ 10 s                        │ 10 s                      │ TLS: 10 s, less under contention
       ▼         ▼                             ▼                           ▼
    rejected   closed                        closed                      closed

Every public port uses it: device link, images, enrolment. When a whole fleet reconnects, starting all handshakes at
once would finish none of them in time, so TLS starts only when a connection gets a slot. A peer that sends its
ClientHello byte by byte wakes the event loop only twice, thanks to the kernel's low-water mark (socket(7),
SO_RCVLOWAT), and holds no slot.

Slots are granted round-robin by address. One address holds at most half of the slots, so unfinished handshakes from one
place leave the other half free, and at most half of the free connections with peers that have sent nothing.
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

MAX_WAIT_S = 10.0
"""Maximum time from accept to a slot, in seconds."""
CONTENDED_SLOT_S = 3.0
"""Minimum time before a slot is reclaimed under contention, in seconds. Unfinished TLS is then aborted; a negotiation
continues without its slot.
"""
CONTENDED_SLOT_FACTOR = 4.0
"""Multiple of the recent average TLS time that a slot is kept at least, so that a slow machine aborts no handshakes."""
_EWMA_WEIGHT = 0.1
"""Weight of the latest handshake in the moving average of TLS time."""
_ACCEPT_BATCH = 64
"""Connections accepted in one turn of the event loop, so that a burst does not block it."""
_ACCEPT_RETRY_S = 1.0
"""Pause after accept has failed for lack of descriptors or memory, in seconds."""
_HEADER_BYTES = 5
_HANDSHAKE_RECORD = 22
_MAX_RECORD_BYTES = 2**14
"""Header, content type and maximum length of a TLS record (RFC 8446, section 5.1)."""
BACKLOG = 4096
"""The kernel's queue of connections before accept: enough for a fleet that reconnects at once."""
MAX_DESCRIPTORS = 1_000_000
"""Upper bound of the descriptor limit, for hosts without one of their own."""
_OTHER_DESCRIPTORS = 256
"""Descriptors reserved for everything else: NATS, other services, callers, logs."""
_log = logging.getLogger(__name__)
_throttle = Throttle()


class Clock(Protocol):
    """Source of time, injected."""

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""


@dataclass(eq=False, slots=True)
class Arrival:
    """A connection before the end of TLS. `source` is the address or site that it is counted under."""

    plain: socket.socket
    source: str
    since_s: float
    needed_bytes: int = _HEADER_BYTES
    closed: bool = False
    holds_slot: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """Maximum number of connections, and of those that are processed at the same time before they are established."""

    connections: int
    slots: int


Handshake = Callable[[Arrival], Awaitable[None]]
"""Performs TLS on an arrival; raises OSError if it fails. The owner of the connection then calls `done`."""


@dataclass
class Arrivals:
    """Accepts connections on `listening`; `established` returns the number of connections past their handshake."""

    bounds: Bounds
    clock: Clock
    handshake: Handshake
    established: Callable[[], int]
    rejected: int = 0
    count: int = 0
    """Connections before the end of TLS."""
    _listening: list[socket.socket] = field(default_factory=list)
    _hello_pending: dict[Arrival, None] = field(default_factory=dict)
    _waiting: OrderedDict[str, deque[Arrival]] = field(default_factory=OrderedDict)
    _slots: dict[Arrival, float] = field(default_factory=dict)
    _handshakes: dict[Arrival, asyncio.Task[None]] = field(default_factory=dict)
    _slots_by_source: Counter[str] = field(default_factory=Counter)
    _hello_pending_by_source: Counter[str] = field(default_factory=Counter)
    _rejected_logged: int = 0
    _average_s: float = 0.0

    def listen(self, listening: socket.socket) -> None:
        """Accept connections of a listening, non-blocking socket."""
        self._listening.append(listening)
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def stop(self) -> None:
        """Stop accepting, and drop arrivals that have not started their handshake."""
        loop = asyncio.get_running_loop()
        for listening in self._listening:
            loop.remove_reader(listening)
            listening.close()
        self._listening.clear()
        for arrival in (*self._hello_pending, *(one for line in self._waiting.values() for one in line)):
            self._drop(arrival)
        self._waiting.clear()
        for task in self._handshakes.values():
            task.cancel()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPT_BATCH):
            try:
                plain, address = listening.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError as e:  # no descriptors or memory: connections stay in the backlog for a while
                _throttle.log(_log, logging.WARNING, "accept failed", why=e.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                loop.call_later(_ACCEPT_RETRY_S, self._accept_again, listening)
                return
            source, room = source_of(str(address[0])), self.bounds.connections - self.count - self.established()
            silent = self._hello_pending_by_source[source]
            if room <= 0 or silent > (room + silent) // 2:
                self.rejected += 1
                plain.close()
                continue
            plain.setblocking(False)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _HEADER_BYTES)
            arrival = Arrival(plain, source, self.clock.monotonic())
            self._hello_pending[arrival] = None
            self._hello_pending_by_source[source] += 1
            self.count += 1
            asyncio.get_running_loop().add_reader(plain, self._on_readable, arrival)

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._listening:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _on_readable(self, arrival: Arrival) -> None:
        """Handle a readable socket: enough bytes for the next step, or closed by the peer."""
        if not self._has_client_hello(arrival):
            if arrival.closed:
                self._drop(arrival)
            return
        self._hello_received(arrival)
        arrival.plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self._waiting.setdefault(arrival.source, deque()).append(arrival)
        self._admit()

    def _has_client_hello(self, arrival: Arrival) -> bool:
        """Return whether the first TLS record is complete (RFC 8446, section 5.1); set `closed` if it never will be."""
        try:
            seen = arrival.plain.recv(arrival.needed_bytes, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            seen = b""
        length = int.from_bytes(seen[3:_HEADER_BYTES], "big")
        if len(seen) < arrival.needed_bytes or seen[0] != _HANDSHAKE_RECORD or not 0 < length <= _MAX_RECORD_BYTES:
            arrival.closed = True
            return False
        if arrival.needed_bytes > _HEADER_BYTES:
            return True
        arrival.needed_bytes += length
        arrival.plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, arrival.needed_bytes)
        return False  # the loop calls again immediately if the rest has already arrived

    def _hello_received(self, arrival: Arrival) -> None:
        del self._hello_pending[arrival]
        self._hello_pending_by_source[arrival.source] -= 1
        if not self._hello_pending_by_source[arrival.source]:
            del self._hello_pending_by_source[arrival.source]
        asyncio.get_running_loop().remove_reader(arrival.plain)

    def _drop(self, arrival: Arrival) -> None:
        arrival.closed = True
        if arrival in self._hello_pending:
            self._hello_received(arrival)
        self.count -= 1
        arrival.plain.close()

    def _admit(self) -> None:
        while len(self._slots) < self.bounds.slots:
            arrival = self._next()
            if arrival is None:
                return
            self._slots[arrival] = self.clock.monotonic()
            self._slots_by_source[arrival.source] += 1
            arrival.holds_slot = True
            self._handshakes[arrival] = asyncio.get_running_loop().create_task(self._run_handshake(arrival))

    def _next(self) -> Arrival | None:
        """Return the next arrival: the oldest of the next address that has not used up its share of slots."""
        share = max(1, self.bounds.slots // 2)
        for source in list(self._waiting):
            line = self._waiting[source]
            while line and self._slots_by_source[source] < share:
                arrival = line.popleft()
                if _is_closed(arrival):
                    self._drop(arrival)
                    continue
                self._waiting.move_to_end(source)
                if not line:
                    del self._waiting[source]
                return arrival
            if not line:
                del self._waiting[source]
        return None

    async def _run_handshake(self, arrival: Arrival) -> None:
        secure = False
        try:
            await self.handshake(arrival)
            secure = True
            if arrival in self._slots:
                took_s = self.clock.monotonic() - self._slots[arrival]
                self._average_s += _EWMA_WEIGHT * (took_s - self._average_s)
        except (OSError, asyncio.CancelledError) as e:  # failed TLS raises an OSError, and so does a timeout
            why = str(e) or type(e).__name__
            if isinstance(e, ssl.SSLCertVerificationError):  # possibly one of our devices, with an expired certificate
                _throttle.log(
                    _log, logging.WARNING, "certificate rejected", about=arrival.source, why=e.verify_message or why
                )
            else:
                _log.debug("handshake failed", extra={"peer": arrival.source, "why": why})
        finally:
            self.count -= 1
            del self._handshakes[arrival]
            if not secure:
                self.done(arrival)

    def done(self, arrival: Arrival) -> None:
        """Release the arrival's slot, once it is established or has ended, and admit the next one. Idempotent."""
        if not arrival.holds_slot:
            return
        arrival.holds_slot = False
        del self._slots[arrival]
        self._slots_by_source[arrival.source] -= 1
        if not self._slots_by_source[arrival.source]:
            del self._slots_by_source[arrival.source]
        if self._listening:
            self._admit()

    def sweep(self) -> None:
        """Drop arrivals that have waited too long and reclaim slots under contention. Called once a second."""
        now_s = self.clock.monotonic()
        for arrival in [one for one in self._hello_pending if now_s - one.since_s > MAX_WAIT_S]:
            self._drop(arrival)
        for source, line in list(self._waiting.items()):
            while line and now_s - line[0].since_s > MAX_WAIT_S:
                self._drop(line.popleft())
            if not line:
                del self._waiting[source]
        if self._waiting:
            limit_s = max(CONTENDED_SLOT_S, CONTENDED_SLOT_FACTOR * self._average_s)
            for arrival in [one for one, since_s in self._slots.items() if now_s - since_s > limit_s]:
                if arrival in self._handshakes:
                    self._handshakes[arrival].cancel()
                else:
                    self.done(arrival)
        if self.rejected > self._rejected_logged:
            more, self._rejected_logged = self.rejected - self._rejected_logged, self.rejected
            _throttle.log(_log, logging.WARNING, "connections rejected", count=more, limit=self.bounds.connections)


def source_of(host: str) -> str:
    """Return the key that an address is counted under: the address itself, or its /64 in IPv6, one site (RFC 6177)."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)


def _is_closed(arrival: Arrival) -> bool:
    """Return whether the peer has already closed the connection, so that no handshake is started for it."""
    poll = select.poll()
    poll.register(arrival.plain, select.POLLRDHUP)
    return bool(poll.poll(0))


async def open_listener(listen: str) -> socket.socket:
    """Return a non-blocking socket that listens on HOST:PORT; raises OSError."""
    host, port = endpoints.split(listen)
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    listening = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    listening.setblocking(False)
    return listening


def raise_descriptor_limit() -> int:
    """Raise the soft limit of descriptors to the hard limit, at most MAX_DESCRIPTORS; return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(MAX_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        soft = target
    return MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def cap_connections(connections: int) -> int:
    """Return `connections`, or as many as the process has descriptors for if that is fewer."""
    return max(1, min(connections, raise_descriptor_limit() - _OTHER_DESCRIPTORS))
