"""Twins over the link: real registry, bridge and nats-server, a device in Python."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import Any

import grpc.aio
import pytest

from services.chassis import codec
from tests.fakes.device import LinkDevice, LinkEndedError, document, led, number
from tests.fixtures.mesh import Mesh, client
from tests.fixtures.wait import eventually, pace
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb
from yggdrasil.registry.v1 import registry_pb2 as rp
from yggdrasil.registry.v1 import twin_pb2 as tp
from yggdrasil.registry.v1 import twin_pb2_grpc


def lamp() -> cp.Capability:
    level = cp.Property(name="level", schema=number(cp.VALUE_TYPE_INT, 0, 100, "%"), readable=True, writable=True)
    return cp.Capability(id="lamp0", type="actuator.lamp", version=1, properties=[level])


LED_AND_LAMP = document(led(), lamp())
"""led0.on is 0/0, lamp0.level is 1/0."""


class Board:
    """A device that applies its twin's deltas and records them."""

    def __init__(self, device: LinkDevice, on: bool = False, level: int = 0) -> None:
        self.device, self.values = device, {(0, 0): on, (1, 0): level}
        self.deltas: list[tuple[int, int, int]] = []
        self.delta_received = asyncio.Event()

    def states(self, *which: tuple[int, int]) -> list[link.TwinState]:
        return [
            link.TwinState(
                capability=c,
                property=p,
                status=link.RESULT_STATUS_OK,
                value=link.LinkValue(boolean=bool(self.values[c, p]))
                if c == 0
                else link.LinkValue(integer=self.values[c, p]),
            )
            for c, p in which or self.values
        ]

    def report_all(self) -> None:
        self.device.send(twin_report=link.TwinReport(states=self.states(), complete=True))

    async def run(self) -> None:
        """Answer deltas until the link ends."""
        while True:
            try:
                frame = await self.device.receive(within_s=60)
            except LinkEndedError:
                return
            self.take(frame)

    def take(self, frame: link.Frame) -> None:
        if frame.WhichOneof("body") == "invoke":
            done = link.Result(call_id=frame.invoke.call_id, status=link.RESULT_STATUS_OK)
            self.device.send(result=done)
        if frame.WhichOneof("body") != "twin_delta":
            return
        delta = frame.twin_delta
        paths = [(entry.capability, entry.property) for entry in delta.entries]
        for entry, path in zip(delta.entries, paths, strict=True):
            self.deltas.append((delta.version, *path))
            self.values[path] = entry.value.integer if path[0] else entry.value.boolean
        self.delta_received.set()
        self.device.send(twin_report=link.TwinReport(version=delta.version, states=self.states(*paths)))


async def _board(mesh: Mesh, on: bool = False, level: int = 0) -> tuple[Board, asyncio.Task[None]]:
    device = await mesh.device()
    await device.negotiate(LED_AND_LAMP)
    board = Board(device, on, level)
    board.report_all()
    return board, asyncio.create_task(board.run())


class Twins:
    """A client of the twin of the mesh's device `one`."""

    def __init__(self, channel: grpc.aio.Channel, device_id: str) -> None:
        self._stub: Any = twin_pb2_grpc.TwinServiceStub(channel)
        self._device_id = device_id

    async def update(self, **capabilities: dict[str, Any]) -> tp.Twin:
        request = tp.UpdateTwinRequest(device_id=self._device_id, desired=codec.values_to_proto(capabilities))
        twin: tp.Twin = (await self._stub.UpdateTwin(request)).twin
        return twin

    async def get(self) -> tp.Twin:
        twin: tp.Twin = (await self._stub.GetTwin(tp.GetTwinRequest(device_id=self._device_id))).twin
        return twin

    async def reported(self) -> dict[str, Any]:
        return codec.values_from_proto((await self.get()).reported)

    async def settled(self) -> bool:
        twin = await self.get()
        return not twin.delta and not any(one.pending for one in twin.properties)


@pytest.fixture
async def twins(mesh: Mesh) -> Any:
    async with client(mesh.processes.endpoint("registry"), mesh.pki) as channel:
        yield Twins(channel, mesh.one)


async def test_reported_state_is_visible_and_desired_is_applied(mesh: Mesh, twins: Twins) -> None:
    board, running = await _board(mesh, level=7)

    async def seen() -> bool:
        return await twins.reported() == {"led0": {"on": False}, "lamp0": {"level": 7}}

    await eventually(seen)
    assert (await twins.get()).contract_revision == 1
    twin = await twins.update(led0={"on": True}, lamp0={"level": 40})
    assert twin.revision == 1
    await eventually(twins.settled)
    assert (board.values, len(board.deltas)) == ({(0, 0): True, (1, 0): 40}, 2)
    await twins.update(lamp0={"level": 41})
    await eventually(twins.settled)
    assert board.deltas[2:] == [(2, 1, 0)]  # only the change
    board.device.close()
    await running


async def test_desired_state_is_sent_when_device_connects(mesh: Mesh, twins: Twins) -> None:
    board, running = await _board(mesh)
    await eventually(twins.settled)
    board.device.close()
    await running
    await twins.update(led0={"on": True}, lamp0={"level": 5})
    await twins.update(lamp0={"level": 0})
    board, running = await _board(mesh)
    await eventually(twins.settled)
    assert board.deltas == [(2, 0, 0)]  # the level has its desired value already
    board.device.close()
    await running


async def test_why_something_was_not_done_can_be_seen(mesh: Mesh, twins: Twins) -> None:
    device = await mesh.device()
    await device.negotiate(LED_AND_LAMP)
    board = Board(device)
    board.report_all()
    await eventually(twins.reported)
    await twins.update(led0={"on": True})
    delta = await device.expect("twin_delta")
    states = board.states((0, 0))
    states[0].status = link.RESULT_STATUS_HARDWARE
    device.send(twin_report=link.TwinReport(version=delta.version, states=states))

    async def reported() -> bool:
        return [one.problem for one in (await twins.get()).properties if one.pending] == ["the hardware failed"]

    await eventually(reported)


async def test_no_delta_is_lost_between_a_reconnect_and_its_report(mesh: Mesh, twins: Twins) -> None:
    """The desired state changes continuously; each board converges to the last one."""
    (await _board(mesh))[0].device.vanish()
    await eventually(twins.reported)
    updating = True
    last = 0

    async def update() -> None:
        nonlocal last
        while updating:
            last = random.randint(0, 100)
            await twins.update(lamp0={"level": last})

    chance = random.Random(12)
    for _ in range(12):
        updating = True
        updater = asyncio.create_task(update())
        board, running = await _board(mesh)
        await pace(chance.uniform(0, 0.15))
        updating = False
        await updater

        async def done(board: Board = board) -> bool:
            return board.values[1, 0] == last

        await eventually(done, within_s=5)
        board.device.vanish()
        await running


async def test_each_desired_value_reaches_the_board(mesh: Mesh, twins: Twins) -> None:
    board, running = await _board(mesh)
    await eventually(twins.reported)
    for level in range(1, 101):
        update = asyncio.create_task(twins.update(lamp0={"level": level}))
        await board.delta_received.wait()
        board.delta_received.clear()
        assert board.values[1, 0] == level
        await update
    board.device.close()
    await running


async def test_report_follows_new_document_after_update(mesh: Mesh, twins: Twins) -> None:
    device = await mesh.device()
    await device.negotiate(LED_AND_LAMP)
    board = Board(device)
    board.report_all()
    await eventually(twins.reported)
    other = document(lamp(), led(f"led_{mesh.one[-8:]}"))
    digest = hashlib.sha256(other).digest()
    device.send(capability_update=link.CapabilityUpdate(capabilities_digest=digest, capabilities_size_bytes=len(other)))
    device.send(
        twin_report=link.TwinReport(states=board.states((0, 0)))
    )  # in flight, with the indexes of the old document
    assert (await device.expect("capability_update_ack")).send_capabilities
    device.send(capability_page=link.CapabilityPage(data=other))
    assert (await device.expect("contract")).revision == 2
    await twins.update(lamp0={"level": 9})
    level = link.TwinState(value=link.LinkValue(integer=3), status=link.RESULT_STATUS_OK)
    device.send(twin_report=link.TwinReport(states=[level], complete=True))
    delta = await device.expect("twin_delta")
    assert [(entry.capability, entry.property, entry.value.integer) for entry in delta.entries] == [(0, 0, 9)]
    assert await twins.reported() == {"lamp0": {"level": 3}}
    assert (await twins.get()).contract_revision == 2


async def test_unavailable_registry_delays_report_but_no_call(own_mesh: Mesh) -> None:
    board, running = await _board(own_mesh)
    async with client(own_mesh.processes.endpoint("registry"), own_mesh.pki) as channel:
        await eventually(Twins(channel, own_mesh.one).reported)
    own_mesh.processes.running["registry"].kill()
    board.values[1, 0] = 77
    board.device.send(twin_report=link.TwinReport(states=board.states((1, 0))))
    write = pb.WritePropertyRequest(device_id=own_mesh.one, capability="lamp0", property="level")
    write.value.int = 4
    for _ in range(5):
        await own_mesh.bridge.WriteProperty(write, timeout=2)
        board.device.send(ping=link.Ping(token=1))
        await pace(0.2)
    own_mesh.processes.start("registry")

    async def heard() -> bool:
        board.device.send(ping=link.Ping(token=1))
        async with client(own_mesh.processes.endpoint("registry"), own_mesh.pki) as channel:
            return (await Twins(channel, own_mesh.one).reported()).get("lamp0") == {"level": 77}

    await eventually(heard, within_s=40)
    session = (await own_mesh.bridge.GetSession(pb.GetSessionRequest(device_id=own_mesh.one))).session
    assert session.epoch == 1
    view = (await own_mesh.registry.GetDevice(rp.GetDeviceRequest(device_id=own_mesh.one))).device
    assert view.contract_revision == 1
    board.device.close()
    await running
