"""Turns of arriving connections: real sockets, handshakes that end when the test says so, a clock that it moves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from services.chassis.arrivals import (
    CONTENDED_SLOT_FACTOR,
    CONTENDED_SLOT_S,
    MAX_WAIT_S,
    Arrival,
    Arrivals,
    Bounds,
    source_of,
)

TURNS = 20
"""Iterations of the event loop: each processes the ready sockets, and their consequences need a few."""

HELLO = b"\x16\x03\x01\x00\x04hell"
"""What looks like the record of a ClientHello."""


async def turns() -> None:
    """Let the loop process everything that is ready, and its consequences."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_s, UTC)

    def monotonic(self) -> float:
        return self.now_s


class Door:
    """Arrivals with handshakes that wait for `finish`; `begun` has the accepted ones, by source address."""

    def __init__(self, connections: int = 100, slots: int = 4) -> None:
        self.clock, self.begun = Clock(), list[Arrival]()
        self._ends: dict[Arrival, asyncio.Future[None]] = {}
        self._peers: list[socket.socket] = []
        self.arrivals = Arrivals(Bounds(connections, slots), self.clock, self._handshake, lambda: 0)
        self.listening = socket.create_server(("0.0.0.0", 0))
        self.listening.setblocking(False)
        self.arrivals.listen(self.listening)

    async def _handshake(self, arrival: Arrival) -> None:
        self.begun.append(arrival)
        self._ends[arrival] = asyncio.get_running_loop().create_future()
        await self._ends[arrival]

    async def dial(self, source: str = "127.0.0.1", says: bytes = HELLO) -> socket.socket:
        """A peer that has said so much."""
        peer = socket.socket()
        peer.bind((source, 0))
        peer.setblocking(False)
        await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", self.listening.getsockname()[1]))
        self._peers.append(peer)
        peer.send(says)
        await turns()
        return peer

    async def finish(self, arrival: Arrival, error: Exception | None = None) -> None:
        """TLS is done, or has failed."""
        if error is None:
            self._ends[arrival].set_result(None)
        else:
            self._ends[arrival].set_exception(error)
        await turns()

    @property
    def sources(self) -> list[str]:
        return [arrival.source for arrival in self.begun]

    def close(self) -> None:
        self.arrivals.stop()
        for peer in self._peers:
            peer.close()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    yield made
    made.close()
    await asyncio.sleep(0)


async def closed(peer: socket.socket) -> bool:
    async with asyncio.timeout(2):
        try:
            return await asyncio.get_running_loop().sock_recv(peer, 1) == b""
        except ConnectionError:
            return True


async def test_one_address_holds_half_of_the_slots_and_turns_go_round(door: Door) -> None:
    for _ in range(6):
        await door.dial("127.0.0.1")
    assert door.sources == ["127.0.0.1"] * 2
    for _ in range(3):
        await door.dial("127.0.0.2")
    assert door.sources == ["127.0.0.1"] * 2 + ["127.0.0.2"] * 2
    for arrival in tuple(door.begun):
        await door.finish(arrival)
        assert len(door.begun) == 4  # a slot is held to the contract, not to the end of TLS
    door.arrivals.done(door.begun[0])
    door.arrivals.done(door.begun[2])
    await turns()
    assert sorted(door.sources[4:]) == ["127.0.0.1", "127.0.0.2"]


async def test_oldest_of_an_address_is_first_and_failure_frees_slot(door: Door) -> None:
    peers = [await door.dial() for _ in range(4)]
    ports = [peer.getsockname()[1] for peer in peers]
    for error in (ConnectionResetError(), TimeoutError()):
        await door.finish(door.begun[-2], error)
    assert [arrival.plain.getpeername()[1] for arrival in door.begun] == ports


async def test_closed_connection_costs_no_handshake(door: Door) -> None:
    for _ in range(2):
        await door.dial()
    (await door.dial()).close()
    await door.dial()
    await door.finish(door.begun[0], ConnectionResetError())
    assert len(door.begun) == 3
    assert door.arrivals.count == 2


@pytest.mark.parametrize("says", [HELLO, HELLO[:-1], b"\x16", b""])
async def test_connection_that_waits_too_long_is_closed(door: Door, says: bytes) -> None:
    for _ in range(2):
        await door.dial()
    peer = await door.dial(says=says)
    door.clock.now_s += MAX_WAIT_S / 2
    later = await door.dial()
    door.clock.now_s += MAX_WAIT_S / 2 + 0.1
    door.arrivals.sweep()
    assert await closed(peer)
    await turns()
    assert later.fileno() > 0
    assert door.arrivals.count >= 1


async def test_a_hello_that_comes_in_two_has_its_turn_once_it_is_whole(door: Door) -> None:
    peer = await door.dial(says=HELLO[:7])
    assert door.begun == []
    peer.send(HELLO[7:])
    await turns()
    assert len(door.begun) == 1


async def test_hung_handshake_is_dropped_when_others_wait(door: Door) -> None:
    hanging = await door.dial()
    await door.dial()
    await door.finish(door.begun[1])  # this one negotiates
    door.clock.now_s += CONTENDED_SLOT_S + 0.1
    door.arrivals.sweep()
    assert len(door.begun) == 2  # none waits, so none is evicted
    for _ in range(2):
        await door.dial()
    door.arrivals.sweep()
    await turns()
    assert len(door.begun) == 4
    assert door.begun[1].plain.fileno() > 0
    assert hanging.fileno() > 0


async def test_slow_host_drops_no_handshake(door: Door) -> None:
    for _ in range(60):
        await door.dial()
        door.clock.now_s += CONTENDED_SLOT_S
        await door.finish(door.begun[-1])
        door.arrivals.done(door.begun[-1])
    for _ in range(3):
        await door.dial()
    begun = len(door.begun)
    door.clock.now_s += 2 * CONTENDED_SLOT_S
    door.arrivals.sweep()
    await turns()
    assert len(door.begun) == begun
    await door.dial()
    door.clock.now_s += CONTENDED_SLOT_FACTOR * CONTENDED_SLOT_S
    await door.dial()
    door.arrivals.sweep()
    await turns()
    assert len(door.begun) > begun


async def test_one_above_the_limit_is_turned_away() -> None:
    door = Door(connections=2)
    for _ in range(2):
        await door.dial(says=b"")
    assert await closed(await door.dial(says=b""))
    assert door.arrivals.rejected == 1
    door.close()


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("?", "?"),
    ],
)
def test_whom_an_address_counts_for(host: str, source: str) -> None:
    assert source_of(host) == source


async def test_one_address_holds_half_of_the_room_with_silence() -> None:
    door = Door(connections=20)
    for _ in range(30):
        await door.dial(says=b"")
    await turns()
    assert 10 <= door.arrivals.count <= 11
    assert door.arrivals.rejected == 30 - door.arrivals.count
    await door.dial("127.0.0.2")
    await turns()
    assert [arrival.source for arrival in door.begun] == ["127.0.0.2"]
    door.clock.now_s += MAX_WAIT_S + 1
    door.arrivals.sweep()
    assert door.arrivals.count == 1
    door.close()
