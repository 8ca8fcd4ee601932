"""Known attacks on the listener: each costs at most its own connection, and other devices are served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator

import pytest

from services.chassis.arrivals import MAX_WAIT_S
from tests.fakes.device import LinkDevice, LinkEndedError, document, hello
from tests.fixtures.mesh import Mesh
from tests.fixtures.process import ServiceProcess
from tests.fixtures.wait import eventually, pace
from tests.integration.bridge.test_bridge_bad_input import PAD, PAD_ARGUMENTS
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

SLOTS = 4


@contextlib.contextmanager
def _bridge(mesh: Mesh, **settings: object) -> Iterator[tuple[ServiceProcess, str]]:
    """Run a bridge with tight limits; yield it with its link endpoint."""
    process = mesh.processes.start_another_bridge(**settings)
    try:
        yield process, str(process.ready()["link"])
    finally:
        process.terminate()


async def _served(mesh: Mesh, endpoint: str, device_id: str, source: str = "", **changes: object) -> LinkDevice:
    device = await LinkDevice.connect(endpoint, mesh.pki.files("device", device_id), device_id, source=source)
    await device.negotiate(document(), **changes)
    return device


def _client_hello() -> bytes:
    """Return a complete ClientHello of a TLS client on this machine."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def _dialled(endpoint: str, count: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = endpoint.rpartition(":")
    return [await asyncio.open_connection(host, int(port)) for _ in range(count)]


async def _closed(reader: asyncio.StreamReader) -> bool:
    with contextlib.suppress(ConnectionError):
        while await reader.read(4096):
            pass
    return True


async def test_slow_loris_costs_only_its_own_connections(mesh: Mesh) -> None:
    """Ten connections per slot: none of them occupies a slot, so other devices do not wait."""
    whole = _client_hello()

    async def dribble(writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            for byte in whole[:-1]:
                writer.write(bytes([byte]))
                await writer.drain()
                await pace(0.05)

    with _bridge(mesh, arrivals=SLOTS) as (_, endpoint):
        connections = await _dialled(endpoint, 10 * SLOTS)
        dribbling = [asyncio.create_task(dribble(writer)) for _, writer in connections]
        closing = [asyncio.create_task(_closed(reader)) for reader, _ in connections]
        device = await _served(mesh, endpoint, mesh.one)
        assert not any(task.done() for task in closing), "they still dribble, and the device is served"
        async with asyncio.timeout(MAX_WAIT_S + 30):
            assert all(await asyncio.gather(*closing))
        device.vanish()
        await asyncio.gather(*dribbling)


async def test_stalled_handshakes_hold_half_of_slots_and_yield(mesh: Mesh) -> None:
    whole = _client_hello()
    with _bridge(mesh, arrivals=SLOTS) as (_, endpoint):
        connections = await _dialled(endpoint, SLOTS)
        for _, writer in connections:
            writer.write(whole)
            await writer.drain()
        closing = [asyncio.create_task(_closed(reader)) for reader, _ in connections]
        elsewhere = await _served(mesh, endpoint, mesh.one, source="127.0.0.2")
        assert not any(task.done() for task in closing), "another address has separate slots"
        behind = await _served(mesh, endpoint, mesh.two)
        assert any(task.done() for task in closing), "one was closed for a waiting connection"
        for device in (elsewhere, behind):
            device.vanish()
        async with asyncio.timeout(MAX_WAIT_S + 30):
            assert all(await asyncio.gather(*closing))


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff", b"\x16\x03\x01\x00\x00"])
async def test_non_tls_connection_is_closed_immediately(mesh: Mesh, first: bytes) -> None:
    ((reader, writer),) = await _dialled(mesh.processes.endpoint("link"), 1)
    writer.write(first)
    async with asyncio.timeout(2):
        assert await _closed(reader)
    assert (await (await mesh.device()).negotiate()).accepted == 1


async def test_half_open_connections_end_by_their_time_in_every_state(mesh: Mesh) -> None:
    """The peer vanishes without FIN: it neither sends nor reads any more."""
    ((silent, _),) = await _dialled(mesh.processes.endpoint("link"), 1)
    after_tls, after_hello, after_contract = await mesh.device(), await mesh.device(mesh.two), await mesh.device()
    after_hello.send(hello=hello(mesh.two, mesh.fresh_document()))
    assert (await after_hello.expect("welcome")).send_capabilities
    await after_contract.negotiate()

    async def ends(device: LinkDevice, within_s: float) -> None:
        assert [frame.goodbye.code for frame in await device.ended(within_s)] == [link.GOODBYE_CODE_TIMEOUT]

    async with asyncio.timeout(25):
        await asyncio.gather(_closed(silent), ends(after_tls, 20), ends(after_hello, 20), ends(after_contract, 6))


async def test_connection_above_limit_is_refused_with_reason(mesh: Mesh) -> None:
    with _bridge(mesh, connections=3) as (process, endpoint):
        first = await LinkDevice.connect(endpoint, mesh.pki.files("device", mesh.one), mesh.one)
        first.send(hello=hello(mesh.one, document()))
        welcome = await first.expect("welcome")
        assert (welcome.listener_max_connections, welcome.unread_limit_bytes) == (3, 262144)
        held = await _dialled(endpoint, 2)  # connections before their handshake count as well
        for _ in range(5):
            ((reader, _),) = await _dialled(endpoint, 1)
            async with asyncio.timeout(2):
                assert await _closed(reader)

        def logged() -> bool:
            lines = [line for line in process.log() if line["msg"] == "connections rejected"]
            return sum(line["count"] for line in lines) == 5 and len(lines) <= 2

        await eventually(logged)
        held[0][1].close()

        async def let_in() -> bool:
            try:
                (await _served(mesh, endpoint, mesh.two)).vanish()
            except (OSError, LinkEndedError):
                return False
            return True

        await eventually(let_in)
        first.vanish()


@contextlib.asynccontextmanager
async def _records_of(port: int) -> AsyncIterator[tuple[int, list[int]]]:
    """A relay that records the length of each TLS record from the server, from its header (RFC 8446, 5.2)."""
    lengths: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", port)

        async def up() -> None:
            while data := await reader.read(4096):
                onward_writer.write(data)

        async def down() -> None:
            while True:
                header = await onward_reader.readexactly(5)
                lengths.append(int.from_bytes(header[3:], "big"))
                writer.write(header + await onward_reader.readexactly(lengths[-1]))

        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await asyncio.gather(up(), down())

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1]), lengths
    finally:
        server.close()


@pytest.mark.parametrize("record_bytes", [512, 1024])
async def test_no_tls_record_is_larger_than_the_device_can_receive(mesh: Mesh, record_bytes: int) -> None:
    """A call of some 600 bytes is sent in one record if the limit allows it, else in two."""
    port = int(mesh.processes.endpoint("link").rpartition(":")[2])
    limits = link.Limits(rx_frame_bytes=4096, tx_frame_bytes=4096, calls_in_flight=2, rx_record_bytes=record_bytes)
    async with _records_of(port) as (relayed, lengths):
        device = await LinkDevice.connect(f"127.0.0.1:{relayed}", mesh.pki.files("device", mesh.one), mesh.one)
        await eventually(lambda: device.has_ticket)
        handshake = len(lengths)
        await device.negotiate(PAD, limits=limits)
        notes = pb.InvokeRequest(device_id=mesh.one, capability="pad0", action="note", arguments=PAD_ARGUMENTS)
        call = asyncio.ensure_future(mesh.bridge.Invoke(notes))
        await device.answer(lambda i: link.Result(call_id=i.call_id, status=link.RESULT_STATUS_OK))
        await call
        sent = [length - 17 for length in lengths[handshake:]]  # without the tag and the inner content type
        assert max(sent) <= record_bytes
        assert max(sent) == 512 if record_bytes == 512 else max(sent) > 600
        device.vanish()
