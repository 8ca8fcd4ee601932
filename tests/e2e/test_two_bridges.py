"""Two bridges: each answers any call, a reconnected device fences its old session, a dead bridge's devices move."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from tests.fakes.device import LinkDevice, document
from tests.fixtures.mesh import Mesh, client
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.common.v1 import value_pb2
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb
from yggdrasil.jotunheim.v1 import bridge_pb2_grpc

BLINK = {"times": value_pb2.Value(int=1)}


async def connect(mesh: Mesh, endpoint: str, **changes: object) -> LinkDevice:
    device = await LinkDevice.connect(endpoint, mesh.pki.files("device", mesh.one), mesh.one)
    await device.negotiate(document(), **changes)
    return device


def blink(mesh: Mesh, call_id: str = "") -> pb.InvokeRequest:
    return pb.InvokeRequest(device_id=mesh.one, capability="led0", action="blink", arguments=BLINK, call_id=call_id)


def ok(invoke: link.Invoke) -> link.Result:
    values = [link.Argument(index=0, value=link.LinkValue(integer=1))]
    return link.Result(call_id=invoke.call_id, status=link.RESULT_STATUS_OK, values=values)


async def test_a_call_at_the_other_bridge_is_routed_with_its_errors(own_mesh: Mesh) -> None:
    mesh, second = own_mesh, own_mesh.processes.start_another_bridge()
    device = await connect(mesh, mesh.processes.endpoint("link"))
    async with client(second.listen, mesh.pki) as channel:
        stub = bridge_pb2_grpc.BridgeServiceStub(channel)
        call = asyncio.ensure_future(stub.Invoke(blink(mesh), timeout=5))
        await device.answer(ok)
        assert (await call).results["count"].int == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            wrong = pb.InvokeRequest(device_id=mesh.one, capability="led0", action="explode")
            await stub.Invoke(wrong, timeout=5)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "It has blink" in str(caught.value.details())
        assert (await stub.Disconnect(pb.DisconnectRequest(device_id=mesh.one), timeout=5)).session_id
    assert (await device.ended())[-1].goodbye.code == link.GOODBYE_CODE_DISCONNECTED


async def test_a_device_that_connects_elsewhere_fences_its_old_session(own_mesh: Mesh) -> None:
    mesh, second = own_mesh, own_mesh.processes.start_another_bridge()
    older = await connect(mesh, mesh.processes.endpoint("link"))
    newer = await connect(mesh, str(second.ready()["link"]))
    assert (await older.ended())[-1].goodbye.code == link.GOODBYE_CODE_REPLACED
    session = (await mesh.bridge.GetSession(pb.GetSessionRequest(device_id=mesh.one))).session
    assert (session.epoch, session.bridge_id) == (2, second.ready()["bridge"])
    call = asyncio.ensure_future(mesh.bridge.Invoke(blink(mesh), timeout=5))
    await newer.answer(ok)
    await call


async def test_call_to_device_of_killed_bridge_fails_promptly(own_mesh: Mesh) -> None:
    mesh, second = own_mesh, own_mesh.processes.start_another_bridge()
    await connect(mesh, str(second.ready()["link"]))
    second.kill()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.bridge.Invoke(blink(mesh), timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_bridge_that_stops_sends_its_devices_to_the_other(own_mesh: Mesh) -> None:
    mesh = own_mesh
    second = mesh.processes.start_another_bridge(link_advertise="elsewhere.example:7443")
    device = await connect(mesh, mesh.processes.endpoint("link"))
    assert mesh.processes.running["jotunheim_bridge"].terminate() == 0
    goodbye = (await device.ended())[-1].goodbye
    assert (goodbye.code, goodbye.reconnect_to) == (link.GOODBYE_CODE_SHUTDOWN, "elsewhere.example:7443")
    assert 250 <= goodbye.reconnect_after_ms <= 1000
    async with client(second.listen, mesh.pki) as channel:
        stub = bridge_pb2_grpc.BridgeServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetSession(pb.GetSessionRequest(device_id=mesh.one), timeout=5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_streamed_call_is_routed_response_by_response(own_mesh: Mesh) -> None:
    mesh, second = own_mesh, own_mesh.processes.start_another_bridge()
    integer = cp.DataSchema(type=cp.VALUE_TYPE_INT)
    counting = cp.Capability(
        id="cnt0",
        type="counter.tally",
        version=1,
        actions=[cp.Action(name="count_up", results=[cp.Parameter(name="n", schema=integer)], streamed=True)],
    )
    device = await LinkDevice.connect(mesh.processes.endpoint("link"), mesh.pki.files("device", mesh.one), mesh.one)
    await device.negotiate(document(counting))
    async with client(second.listen, mesh.pki) as channel:
        stub = bridge_pb2_grpc.BridgeServiceStub(channel)
        call = pb.InvokeRequest(device_id=mesh.one, capability="cnt0", action="count_up")
        stream = stub.InvokeStream(pb.InvokeStreamRequest(call=call), timeout=10)
        reading = asyncio.ensure_future(_numbers(stream))
        invoke = await device.expect("invoke")
        for number in (1, 2, 3):
            answer = ok(invoke)
            answer.values[0].value.integer, answer.more = number, number < 3
            device.send(result=answer)
        assert await reading == [1, 2, 3]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            wrong = pb.InvokeRequest(device_id=mesh.one, capability="cnt0", action="explode")
            await _numbers(stub.InvokeStream(pb.InvokeStreamRequest(call=wrong), timeout=10))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def _numbers(stream: object) -> list[int]:
    return [item.response.results["n"].int async for item in stream]  # type: ignore[attr-defined]
