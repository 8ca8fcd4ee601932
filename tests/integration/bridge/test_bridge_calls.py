"""Streamed, pipelined and many calls, telemetry and capability updates."""

from __future__ import annotations

import asyncio
import hashlib

import grpc
import pytest

from services.chassis import status
from tests.fakes.device import LinkDevice, document, led
from tests.fixtures.mesh import Mesh
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.common.v1 import value_pb2
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb
from yggdrasil.registry.v1 import registry_pb2 as rp

V = value_pb2.Value


def counting() -> cp.Capability:
    integer = cp.DataSchema(type=cp.VALUE_TYPE_INT)
    return cp.Capability(
        id="cnt0",
        type="counter.tally",
        version=1,
        properties=[cp.Property(name="count", schema=integer, readable=True, observable=True)],
        actions=[cp.Action(name="count_up", results=[cp.Parameter(name="n", schema=integer)], streamed=True)],
    )


def result(invoke: link.Invoke, number: int, more: bool = False) -> link.Result:
    values = [link.Argument(index=0, value=link.LinkValue(integer=number))]
    return link.Result(call_id=invoke.call_id, status=link.RESULT_STATUS_OK, values=values, more=more)


async def online(mesh: Mesh, device_id: str = "", *capabilities: cp.Capability, **changes: object) -> LinkDevice:
    device = await mesh.device(device_id)
    await device.negotiate(document(*capabilities), **changes)
    return device


async def test_streamed_action_sends_each_response_until_last(mesh: Mesh) -> None:
    device = await online(mesh, "", counting())
    call = pb.InvokeRequest(device_id=mesh.one, capability="cnt0", action="count_up")
    stream = mesh.bridge.InvokeStream(pb.InvokeStreamRequest(call=call), timeout=10)
    answers = asyncio.ensure_future(_all(stream))
    invoke = await device.expect("invoke")
    for number in (1, 2, 3):
        device.send(result=result(invoke, number, more=number < 3))
    assert [a.response.results["n"].int for a in await answers] == [1, 2, 3]


async def _all(stream: object) -> list[pb.InvokeStreamResponse]:
    return [answer async for answer in stream]  # type: ignore[attr-defined]


async def test_a_unary_call_of_a_streamed_action_gets_the_last_answer(mesh: Mesh) -> None:
    device = await online(mesh, "", counting())
    request = pb.InvokeRequest(device_id=mesh.one, capability="cnt0", action="count_up")
    call = asyncio.ensure_future(mesh.bridge.Invoke(request, timeout=10))
    invoke = await device.expect("invoke")
    device.send(result=result(invoke, 1, more=True))
    device.send(result=result(invoke, 2))
    assert (await call).results["n"].int == 2


async def test_pipeline_returns_results_and_failures_per_call(mesh: Mesh) -> None:
    device = await online(mesh)
    stream = mesh.bridge.Pipeline()
    blink = pb.InvokeRequest(device_id=mesh.one, capability="led0", action="blink", arguments={"times": V(int=1)})
    read = pb.ReadPropertyRequest(device_id=mesh.one, capability="led0", property="on")
    await stream.write(pb.PipelineRequest(id=1, invoke=blink))
    await stream.write(pb.PipelineRequest(id=2, read=read))
    first, second = await device.expect("invoke"), await device.expect("invoke")
    values = [link.Argument(index=0, value=link.LinkValue(boolean=True))]
    device.send(result=link.Result(call_id=second.call_id, status=link.RESULT_STATUS_OK, values=values))
    answer = await stream.read()
    assert (answer.id, answer.read.value.bool) == (2, True)
    device.send(result=result(first, 4))
    answer = await stream.read()
    assert (answer.id, answer.invoke.results["count"].int) == (1, 4)
    await stream.write(pb.PipelineRequest(id=3, read=pb.ReadPropertyRequest(device_id="missing")))
    await stream.write(pb.PipelineRequest(id=4))
    failures = {answer.id: answer.failure for answer in [await stream.read(), await stream.read()]}
    assert (failures[3].code, failures[3].reason) == (5, "DEVICE_NOT_FOUND")
    assert (failures[4].code, failures[4].reason) == (3, "INVALID_REQUEST")
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF


async def test_call_of_many_devices_returns_each_outcome(mesh: Mesh) -> None:
    zone = mesh.one[-8:]
    labels = {"zone": f"z{zone}"}
    await mesh.registry.RegisterDevice(rp.RegisterDeviceRequest(device_id=mesh.two, labels=labels))
    device = await online(mesh)
    await mesh.registry.UpdateDevice(rp.UpdateDeviceRequest(device_id=mesh.one, labels=labels))
    request = pb.InvokeManyRequest(
        selector=f"zone=z{zone}",
        device_ids=[mesh.one, "missing"],
        capability="led0",
        action="blink",
        arguments={"times": V(int=2)},
    )
    outcomes = asyncio.ensure_future(_outcomes(mesh.bridge.InvokeMany(request, timeout=10)))
    await device.answer(lambda invoke: result(invoke, 2))
    found = await outcomes
    assert found[mesh.one].response.results["count"].int == 2
    assert found[mesh.two].failure.reason == "DEVICE_OFFLINE"
    assert found["missing"].failure.reason == "DEVICE_NOT_FOUND"
    assert len(found) == 3


async def test_call_to_a_suspended_device_names_its_state(mesh: Mesh) -> None:
    suspended = rp.RegisterDeviceRequest(device_id=mesh.one, state=rp.DEVICE_STATE_SUSPENDED)
    await mesh.registry.RegisterDevice(suspended)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.bridge.Invoke(pb.InvokeRequest(device_id=mesh.one, capability="led0", action="blink"))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    info = status.error_info(caught.value)
    assert info is not None
    assert info.reason == "DEVICE_NOT_ACTIVE"
    assert "is suspended; nothing was sent to it" in (caught.value.details() or "")
    assert f"ygg device activate {mesh.one}" in (caught.value.details() or "")


async def _outcomes(stream: object) -> dict[str, pb.InvokeManyResponse]:
    return {outcome.device_id: outcome async for outcome in stream}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "request_",
    [
        pb.InvokeManyRequest(capability="led0", action="blink"),
        pb.InvokeManyRequest(selector="*", concurrency=257),
        pb.InvokeManyRequest(selector="a=b c"),
        pb.InvokeManyRequest(selector="*", has=["led"]),
        pb.InvokeManyRequest(device_ids=["x"] * 1001),
    ],
)
async def test_a_call_of_many_that_is_out_of_bounds_is_refused(mesh: Mesh, request_: pb.InvokeManyRequest) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _outcomes(mesh.bridge.InvokeMany(request_, timeout=5))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_call_first_sent_under_another_boot_is_not_sent_again(mesh: Mesh) -> None:
    device = await online(mesh)
    request = pb.InvokeRequest(
        device_id=mesh.one, capability="led0", action="blink", arguments={"times": V(int=1)}, call_id="once"
    )
    call = asyncio.ensure_future(mesh.bridge.Invoke(request, timeout=10))
    await device.expect("invoke")
    device.vanish()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info = status.error_info(caught.value)
    assert info is not None
    assert (info.reason, info.metadata["boot_id"]) == ("OUTCOME_UNKNOWN", f"{7:016x}")
    rebooted = await online(mesh, "", boot_id=8)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.bridge.Invoke(request, timeout=10)
    info = status.error_info(caught.value)
    assert (caught.value.code(), info and info.reason) == (grpc.StatusCode.ABORTED, "OTHER_BOOT")
    request.call_id, request.boot_id = "twice", f"{7:016x}"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.bridge.Invoke(request, timeout=10)
    assert caught.value.code() is grpc.StatusCode.ABORTED
    rebooted.send(ping=link.Ping(token=1))
    assert (await rebooted.expect("pong")).token == 1  # no call arrived before it


async def test_telemetry_reaches_watchers_and_earns_new_credit(mesh: Mesh) -> None:
    device = await online(mesh, "", counting())
    watch = mesh.bridge.WatchEvents(pb.WatchEventsRequest(device_ids=[mesh.one], kinds=[pb.EVENT_KIND_TELEMETRY]))
    await watch.initial_metadata()
    for number in range(32):
        sample = link.Sample(capability=0, property=0, value=link.LinkValue(integer=number))
        device.send(telemetry=link.Telemetry(samples=[sample, sample]))
    seen = [(await watch.read()).event.fields["count"].int for _ in range(64)]
    assert seen == [number for number in range(32) for _ in (1, 2)]
    assert (await device.expect("credit")).telemetry >= 32
    watch.cancel()


@pytest.mark.parametrize(
    ("sample", "code"),
    [
        (link.Sample(capability=0, property=9), link.GOODBYE_CODE_PROTOCOL_ERROR),
        (link.Sample(capability=7, property=0), link.GOODBYE_CODE_PROTOCOL_ERROR),
        (link.Sample(capability=0, property=0, value=link.LinkValue(text="x")), link.GOODBYE_CODE_PROTOCOL_ERROR),
    ],
)
async def test_telemetry_outside_the_contract_ends_the_session(mesh: Mesh, sample: link.Sample, code: int) -> None:
    device = await online(mesh, "", counting())
    device.send(telemetry=link.Telemetry(samples=[sample]))
    assert (await device.ended())[-1].goodbye.code == code


async def test_telemetry_without_credit_ends_only_its_session(mesh: Mesh) -> None:
    device, other = await online(mesh, "", counting()), await online(mesh, mesh.two)
    sample = link.Sample(capability=0, property=0, value=link.LinkValue(integer=1))
    for _ in range(500):
        device.send(telemetry=link.Telemetry(samples=[sample] * 8))
    assert (await device.ended())[-1].goodbye.code == link.GOODBYE_CODE_FLOOD
    other.send(ping=link.Ping(token=2))
    assert (await other.expect("pong")).token == 2


async def test_capability_update_makes_next_contract_with_changes(mesh: Mesh) -> None:
    device = await online(mesh)
    watch = mesh.bridge.WatchEvents(pb.WatchEventsRequest(device_ids=[mesh.one], kinds=[pb.EVENT_KIND_CONTRACT]))
    await watch.initial_metadata()
    offered = document(led(version=2), led(f"led_{mesh.one[-8:]}"))
    update = link.CapabilityUpdate(
        capabilities_digest=hashlib.sha256(offered).digest(), capabilities_size_bytes=len(offered)
    )
    device.send(capability_update=update)
    answer = await device.expect("capability_update_ack")
    assert answer.send_capabilities
    held = asyncio.ensure_future(
        mesh.bridge.Invoke(
            pb.InvokeRequest(
                device_id=mesh.one,
                capability=f"led_{mesh.one[-8:]}",
                action="blink",
                arguments={"times": V(int=1)},
            ),
            timeout=10,
        )
    )
    for offset in range(0, len(offered), answer.page_bytes):
        data = offered[offset : offset + answer.page_bytes]
        device.send(capability_page=link.CapabilityPage(offset=offset, data=data))
    assert (await device.expect("contract")).revision == 2
    invoke = await device.answer(lambda i: result(i, 1))
    assert invoke.capability == 1  # delayed until the contract contains it
    await held
    event = (await watch.read()).event
    assert (event.contract_revision, list(event.changes.added), list(event.changes.changed)) == (
        2,
        [f"led_{mesh.one[-8:]}"],
        ["led0"],
    )
    watch.cancel()


async def test_capability_update_with_wrong_pages_ends_session(mesh: Mesh) -> None:
    device = await online(mesh)
    offered = mesh.fresh_document()
    digest = hashlib.sha256(b"other").digest()
    device.send(
        capability_update=link.CapabilityUpdate(capabilities_digest=digest, capabilities_size_bytes=len(offered))
    )
    await device.expect("capability_update_ack")
    device.send(capability_page=link.CapabilityPage(offset=0, data=offered))
    assert (await device.ended())[-1].goodbye.code == link.GOODBYE_CODE_PROTOCOL_ERROR
