"""The device link from Hello to goodbye, and calls over it: real registry, bridge, nats-server and TLS."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from services.chassis import status
from tests.fakes.device import LinkDevice, LinkEndedError, document, hello, led
from tests.fixtures.mesh import Mesh, client
from tests.fixtures.wait import eventually
from ygg.pki.identities import leaf_of
from yggdrasil.common.v1 import contract_pb2, value_pb2
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb
from yggdrasil.registry.v1 import enrolment_pb2 as ep
from yggdrasil.registry.v1 import enrolment_pb2_grpc
from yggdrasil.registry.v1 import registry_pb2 as rp

INT = value_pb2.Value


def ok(invoke: link.Invoke, *values: link.LinkValue) -> link.Result:
    arguments = [link.Argument(index=index, value=value) for index, value in enumerate(values)]
    return link.Result(call_id=invoke.call_id, status=link.RESULT_STATUS_OK, values=arguments)


async def online(mesh: Mesh, *capabilities: object) -> LinkDevice:
    device = await mesh.device()
    await device.negotiate(document(*capabilities))  # type: ignore[arg-type]
    return device


def invoke(device_id: str, arguments: dict[str, value_pb2.Value], **changes: str) -> pb.InvokeRequest:
    fields = {"device_id": device_id, "capability": "led0", "action": "blink", **changes}
    return pb.InvokeRequest(arguments=arguments, **fields)


async def refused(call: object) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    info = status.error_info(caught.value)
    return caught.value.code(), info.reason if info else "", caught.value.details() or ""


async def test_a_device_negotiates_and_its_contract_is_stored(mesh: Mesh) -> None:
    device = await mesh.device()
    notice = await device.negotiate(document(led(), led("siren0", "actuator.siren")))
    assert (notice.revision, notice.accepted, notice.refused) == (1, 1, 1)
    assert notice.refusals[0].capability == 1
    assert 'policy "demo"' in notice.refusals[0].message
    contract = (await mesh.registry.GetContract(rp.GetContractRequest(device_id=mesh.one))).contract
    assert [c.id for c in contract.capabilities] == ["led0"]
    assert contract.refused[0].reason == contract_pb2.REFUSAL_REASON_POLICY
    view = (await mesh.registry.GetDevice(rp.GetDeviceRequest(device_id=mesh.one))).device
    assert (view.model, view.firmware_version, view.slot, view.contract_revision) == ("test-board", "1.0.0", "A", 1)


async def test_presence_follows_the_session(mesh: Mesh) -> None:
    device = await online(mesh)

    async def is_online() -> bool:
        view = (await mesh.registry.GetDevice(rp.GetDeviceRequest(device_id=mesh.one))).device
        return bool(view.presence.online)

    await eventually(is_online)
    session = (await mesh.bridge.GetSession(pb.GetSessionRequest(device_id=mesh.one))).session
    assert (session.epoch, session.online, session.boot_id) == (1, True, f"{7:016x}")
    listed = (await mesh.bridge.ListSessions(pb.ListSessionsRequest())).sessions
    assert mesh.one in [s.device_id for s in listed]
    device.vanish()

    async def is_offline() -> bool:
        return not await is_online()

    await eventually(is_offline)
    code, reason, _ = await refused(mesh.bridge.GetSession(pb.GetSessionRequest(device_id=mesh.one)))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "NO_SESSION")


async def test_a_known_digest_needs_no_pages_and_makes_no_new_revision(mesh: Mesh) -> None:
    offered = mesh.fresh_document()
    first = await mesh.device()
    await first.negotiate(offered)
    first.vanish()
    second = await mesh.device()
    second.send(hello=hello(mesh.one, offered))
    assert not (await second.expect("welcome")).send_capabilities
    assert (await second.expect("contract")).revision == 1
    other = await mesh.device(mesh.two)
    other.send(hello=hello(mesh.two, offered))
    assert not (await other.expect("welcome")).send_capabilities


async def test_other_capabilities_make_the_next_revision(mesh: Mesh) -> None:
    (await online(mesh)).vanish()
    device = await mesh.device()
    assert (await device.negotiate(document(led(version=2)))).revision == 2


async def test_action_is_sent_by_index_and_results_return_by_name(mesh: Mesh) -> None:
    device = await online(mesh)
    call = asyncio.ensure_future(
        mesh.bridge.Invoke(invoke(mesh.one, {"times": INT(int=3), "period_ms": INT(int=100)}, call_id="c1"), timeout=5)
    )
    seen = await device.answer(lambda i: ok(i, link.LinkValue(integer=9)))
    assert (seen.call_id, seen.capability, seen.operation, seen.member) == ("c1", 0, link.OPERATION_ACTION, 0)
    assert [(a.index, a.value.integer) for a in seen.arguments] == [(0, 3), (1, 100)]
    assert 0 < seen.deadline_ms <= 5000
    assert (await call).results["count"].int == 9


async def test_an_optional_argument_can_be_left_out(mesh: Mesh) -> None:
    device = await online(mesh)
    call = asyncio.ensure_future(mesh.bridge.Invoke(invoke(mesh.one, {"times": INT(int=1)})))
    seen = await device.answer(lambda i: ok(i, link.LinkValue(integer=1)))
    assert [a.index for a in seen.arguments] == [0]
    assert len((await call).call_id) == 36


async def test_properties_are_read_from_the_device_and_written_to_it(mesh: Mesh) -> None:
    device = await online(mesh)
    read = asyncio.ensure_future(
        mesh.bridge.ReadProperty(pb.ReadPropertyRequest(device_id=mesh.one, capability="led0", property="on"))
    )
    await device.answer(lambda i: ok(i, link.LinkValue(boolean=True)))
    assert (await read).value.bool is True
    write = asyncio.ensure_future(
        mesh.bridge.WriteProperty(
            pb.WritePropertyRequest(device_id=mesh.one, capability="led0", property="on", value=INT(bool=False))
        )
    )
    seen = await device.answer(ok)
    assert (seen.operation, seen.arguments[0].value.boolean) == (link.OPERATION_WRITE, False)
    await write


@pytest.mark.parametrize(
    ("request_", "code", "reason", "says"),
    [
        (invoke("", {}, action="explode"), grpc.StatusCode.FAILED_PRECONDITION, "NOT_IN_CONTRACT", "It has blink"),
        (
            invoke("", {}, capability="fan0"),
            grpc.StatusCode.FAILED_PRECONDITION,
            "NOT_IN_CONTRACT",
            "led0 (actuator.led@1)",
        ),
        (invoke("", {}), grpc.StatusCode.FAILED_PRECONDITION, "ARGUMENT_NOT_IN_CONTRACT", "requires times"),
        (
            invoke("", {"times": INT(string="3")}),
            grpc.StatusCode.FAILED_PRECONDITION,
            "ARGUMENT_NOT_IN_CONTRACT",
            "times is 3 (string), the contract requires int, 1 to 20",
        ),
        (
            invoke("", {"times": INT(int=3), "period_ms": INT(int=9000)}),
            grpc.StatusCode.FAILED_PRECONDITION,
            "ARGUMENT_NOT_IN_CONTRACT",
            "period_ms is 9000, the contract allows 50 to 5000 ms",
        ),
        (
            invoke("", {"times": INT(int=3), "speed": INT(int=1)}),
            grpc.StatusCode.FAILED_PRECONDITION,
            "ARGUMENT_NOT_IN_CONTRACT",
            "no argument speed",
        ),
        (invoke("missing", {}), grpc.StatusCode.NOT_FOUND, "DEVICE_NOT_FOUND", "no device missing"),
        (invoke("No Such!", {}), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ID", "device id"),
        (invoke("", {}, call_id="a b"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ID", "call id"),
    ],
)
async def test_call_outside_contract_never_reaches_the_device(
    mesh: Mesh, request_: pb.InvokeRequest, code: grpc.StatusCode, reason: str, says: str
) -> None:
    device = await online(mesh)
    if not request_.device_id:
        request_.device_id = mesh.one
    found = await refused(mesh.bridge.Invoke(request_))
    assert found[:2] == (code, reason)
    assert says in found[2]
    device.send(ping=link.Ping(token=5))
    assert (await device.expect("pong")).token == 5  # nothing arrived before it


async def test_call_to_an_offline_device_names_its_state(mesh: Mesh) -> None:
    device = await online(mesh)
    device.vanish()

    async def says_offline() -> bool:
        code, reason, _ = await refused(mesh.bridge.Invoke(invoke(mesh.one, {"times": INT(int=1)}), timeout=1))
        return (code, reason) == (grpc.StatusCode.UNAVAILABLE, "DEVICE_OFFLINE")

    await eventually(says_offline)


async def test_device_lost_during_call_leaves_outcome_unknown(mesh: Mesh) -> None:
    device = await online(mesh)
    call = asyncio.ensure_future(mesh.bridge.Invoke(invoke(mesh.one, {"times": INT(int=1)}, call_id="c9")))
    await device.expect("invoke")
    device.vanish()
    code, reason, text = await refused(call)
    assert (code, reason) == (grpc.StatusCode.ABORTED, "OUTCOME_UNKNOWN")
    assert "c9" in text


async def test_a_device_that_does_not_answer_runs_into_the_deadline(mesh: Mesh) -> None:
    device = await online(mesh)
    call = asyncio.ensure_future(mesh.bridge.Invoke(invoke(mesh.one, {"times": INT(int=1)}), timeout=0.5))
    await device.expect("invoke")
    code, _, _ = await refused(call)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_no_more_calls_in_flight_than_the_contract_allows(mesh: Mesh) -> None:
    device = await online(mesh)
    calls = [asyncio.ensure_future(mesh.bridge.Invoke(invoke(mesh.one, {"times": INT(int=n)}))) for n in (1, 2)]
    waiting = [await device.expect("invoke") for _ in calls]
    code, reason, _ = await refused(mesh.bridge.Invoke(invoke(mesh.one, {"times": INT(int=3)})))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CALLS_IN_FLIGHT")
    for seen in waiting:
        device.send(result=ok(seen, link.LinkValue(integer=1)))
    await asyncio.gather(*calls)


@pytest.mark.parametrize(
    ("status_", "code"),
    [
        (link.RESULT_STATUS_BUSY, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (link.RESULT_STATUS_HARDWARE, grpc.StatusCode.FAILED_PRECONDITION),
        (link.RESULT_STATUS_DEADLINE, grpc.StatusCode.DEADLINE_EXCEEDED),
        (link.RESULT_STATUS_INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION),
    ],
)
async def test_refusal_by_the_device_is_returned(
    mesh: Mesh, status_: link.ResultStatus.ValueType, code: grpc.StatusCode
) -> None:
    device = await online(mesh)
    call = asyncio.ensure_future(mesh.bridge.Invoke(invoke(mesh.one, {"times": INT(int=1)})))
    await device.answer(lambda i: link.Result(call_id=i.call_id, status=status_, message="no\nway"))
    found = await refused(call)
    assert found[0] is code
    assert "no?way" in found[2]


async def test_an_answer_outside_the_contract_is_not_passed_on(mesh: Mesh) -> None:
    device = await online(mesh)
    call = asyncio.ensure_future(mesh.bridge.Invoke(invoke(mesh.one, {"times": INT(int=1)})))
    await device.answer(lambda i: ok(i, link.LinkValue(text="many")))
    assert (await refused(call))[:2] == (grpc.StatusCode.DATA_LOSS, "RESULT_NOT_IN_CONTRACT")


async def test_stored_events_are_acknowledged_and_watched(mesh: Mesh) -> None:
    device = await online(mesh)
    watch = mesh.bridge.WatchEvents(pb.WatchEventsRequest(device_ids=[mesh.one], kinds=[pb.EVENT_KIND_EVENT]))
    await watch.initial_metadata()
    fields = [link.Argument(index=0, value=link.LinkValue(integer=42))]
    for sequence in (1, 2):
        device.send(event=link.Event(sequence=sequence, capability=0, event=0, fields=fields))
    acknowledged = 0
    while acknowledged < 2:  # one acknowledgement may cover both
        acknowledged = (await device.expect("event_ack")).sequence
    for sequence in (1, 2):
        seen = (await watch.read()).event
        assert (seen.capability, seen.name, seen.sequence, seen.fields["code"].int) == ("led0", "failed", sequence, 42)
    watch.cancel()
    device.vanish()
    again = await mesh.device()
    again.send(hello=hello(mesh.one, document()))
    assert (await again.expect("welcome")).last_event_sequence == 2
    rebooted = await mesh.device()
    rebooted.send(hello=hello(mesh.one, document(), boot_id=8))
    assert (await rebooted.expect("welcome")).last_event_sequence == 0


async def test_online_and_offline_are_published(mesh: Mesh) -> None:
    watch = mesh.bridge.WatchEvents(pb.WatchEventsRequest(device_ids=[mesh.one]))
    await watch.initial_metadata()
    device = await online(mesh)
    kinds = [(await watch.read()).event.kind for _ in range(2)]
    assert kinds == [pb.EVENT_KIND_ONLINE, pb.EVENT_KIND_CONTRACT]
    device.send(goodbye=link.Goodbye(code=link.GOODBYE_CODE_SHUTDOWN))
    last = (await watch.read()).event
    assert (last.kind, last.reason) == (pb.EVENT_KIND_OFFLINE, "the device said goodbye")
    watch.cancel()


async def test_a_newer_session_replaces_the_older(mesh: Mesh) -> None:
    older = await online(mesh)
    newer = await online(mesh)
    assert (await older.ended())[-1].goodbye.code == link.GOODBYE_CODE_REPLACED
    call = asyncio.ensure_future(mesh.bridge.Invoke(invoke(mesh.one, {"times": INT(int=1)})))
    await newer.answer(lambda i: ok(i, link.LinkValue(integer=1)))
    await call
    session = (await mesh.bridge.GetSession(pb.GetSessionRequest(device_id=mesh.one))).session
    assert session.epoch == 2


async def test_disconnect_ends_the_session(mesh: Mesh) -> None:
    device = await online(mesh)
    await mesh.bridge.Disconnect(pb.DisconnectRequest(device_id=mesh.one))
    assert (await device.ended())[-1].goodbye.code == link.GOODBYE_CODE_DISCONNECTED


async def test_a_silent_device_is_let_go(mesh: Mesh) -> None:
    device = await online(mesh)
    last = (await device.ended(within_s=10))[-1]
    assert last.goodbye.code == link.GOODBYE_CODE_TIMEOUT


async def test_a_suspended_device_is_refused(mesh: Mesh) -> None:
    (await online(mesh)).vanish()
    change = rp.UpdateDeviceRequest(device_id=mesh.one, state=rp.DEVICE_STATE_SUSPENDED)
    await mesh.registry.UpdateDevice(change)
    device = await mesh.device()
    device.send(hello=hello(mesh.one, document()))
    answer = await device.expect("refused")
    assert (answer.code, answer.retry_after_ms) == (link.REFUSED_CODE_NOT_ACTIVE, 2000)


@pytest.mark.parametrize("state", [rp.DEVICE_STATE_SUSPENDED, rp.DEVICE_STATE_RETIRED])
async def test_device_without_access_is_disconnected(mesh: Mesh, state: rp.DeviceState.ValueType) -> None:
    device = await online(mesh)
    other = await mesh.device(mesh.two)
    await other.negotiate()
    watch = mesh.bridge.WatchEvents(
        pb.WatchEventsRequest(device_ids=[mesh.one], kinds=[pb.EVENT_KIND_OFFLINE, pb.EVENT_KIND_REFUSED])
    )
    await watch.initial_metadata()
    await mesh.registry.UpdateDevice(rp.UpdateDeviceRequest(device_id=mesh.one, state=state))
    last = (await device.ended(within_s=2))[-1].goodbye
    assert last.code == link.GOODBYE_CODE_DISCONNECTED
    assert "not active" in last.message
    name = rp.DeviceState.Name(state).removeprefix("DEVICE_STATE_").lower()
    ended = (await watch.read()).event
    assert (ended.kind, ended.denied_state) == (pb.EVENT_KIND_OFFLINE, name)
    again = await mesh.device()
    again.send(hello=hello(mesh.one, document()))
    await again.expect("refused")
    refusal = (await watch.read()).event
    assert (refusal.kind, refusal.reason) == (pb.EVENT_KIND_REFUSED, f"{mesh.one} is {name}, not active")
    watch.cancel()
    other.send(ping=link.Ping(token=5))
    assert (await other.expect("pong")).token == 5


async def test_labels_of_a_device_that_is_here_may_change(mesh: Mesh) -> None:
    device = await online(mesh)
    await mesh.registry.UpdateDevice(rp.UpdateDeviceRequest(device_id=mesh.one, labels={"zone": "hall"}))
    device.send(ping=link.Ping(token=5))
    assert (await device.expect("pong")).token == 5
    # The bridge receives changes in order: once it has ended the other session, it knows the labels.
    other = await mesh.device(mesh.two)
    await other.negotiate()
    suspend = rp.UpdateDeviceRequest(device_id=mesh.two, state=rp.DEVICE_STATE_SUSPENDED)
    await mesh.registry.UpdateDevice(suspend)
    assert (await other.ended(within_s=10))[-1].goodbye.code == link.GOODBYE_CODE_DISCONNECTED
    device.send(ping=link.Ping(token=6))
    assert (await device.expect("pong")).token == 6


async def test_revoked_certificates_end_session_and_block_device(mesh: Mesh) -> None:
    device = await online(mesh)
    ends = mesh.bridge.WatchEvents(
        pb.WatchEventsRequest(device_ids=[mesh.one], kinds=[pb.EVENT_KIND_OFFLINE]), timeout=30
    )
    await ends.initial_metadata()
    async with client(mesh.processes.endpoint("registry"), mesh.pki) as channel:
        enrolment = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
        await enrolment.RevokeCertificates(ep.RevokeCertificatesRequest(device_id=mesh.one))
        last = (await device.ended(within_s=2))[-1].goodbye
        assert last.code == link.GOODBYE_CODE_DISCONNECTED
        assert "revoked" in last.message
    assert (await ends.read()).event.denied_state == "revoked"
    ends.cancel()
    watching = mesh.bridge.WatchEvents(
        pb.WatchEventsRequest(device_ids=[mesh.one], kinds=[pb.EVENT_KIND_REFUSED]), timeout=30
    )
    await watching.initial_metadata()
    for _ in range(3):  # regardless of the reconnect delay
        again = await mesh.device()
        again.send(hello=hello(mesh.one, document()))
        answer = await again.expect("refused")
        assert answer.code == link.REFUSED_CODE_NOT_ACTIVE
        assert "revoked" in answer.message
    await mesh.registry.UpdateDevice(rp.UpdateDeviceRequest(device_id=mesh.one, state=rp.DEVICE_STATE_SUSPENDED))

    async def suspended() -> bool:  # the bridge has received the change
        back = await mesh.device()
        back.send(hello=hello(mesh.one, document()))
        return "suspended" in (await back.expect("refused")).message

    await eventually(suspended)
    reasons = [(await watching.read()).event.reason for _ in range(2)]
    assert "revoked" in reasons[0]
    assert "suspended" in reasons[1], "three refusals for one reason are published once"
    watching.cancel()


async def test_device_without_capabilities_connects(mesh: Mesh) -> None:
    device = await mesh.device()
    device.send(hello=hello(mesh.one, b""))
    assert not (await device.expect("welcome")).send_capabilities
    notice = await device.expect("contract")
    assert (notice.revision > 0, notice.accepted, notice.refused) == (True, 0, 0)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await mesh.bridge.Invoke(invoke(mesh.one, {"times": INT(int=1)}))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    device.send(ping=link.Ping(token=3))
    assert (await device.expect("pong")).token == 3


async def test_when_a_certificate_ends_is_known_and_searched_for(mesh: Mesh) -> None:
    device = await mesh.device()
    await device.negotiate()
    end = leaf_of(mesh.pki.directory("device", mesh.one)).not_valid_after_utc
    session = (await mesh.bridge.GetSession(pb.GetSessionRequest(device_id=mesh.one))).session
    assert session.certificate_expire_time.ToDatetime(UTC) == end

    async def named(before: datetime) -> bool:
        request = rp.ListDevicesRequest(page_size=1000)
        request.certificate_expires_before.FromDatetime(before)
        return mesh.one in [device.id for device in (await mesh.registry.ListDevices(request)).devices]

    await eventually(lambda: named(end + timedelta(seconds=1)))
    assert not await named(end)
    found = (await mesh.registry.GetDevice(rp.GetDeviceRequest(device_id=mesh.one))).device
    assert found.certificate_expire_time.ToDatetime(UTC) == end
    device.vanish()

    async def away() -> bool:
        return not (await mesh.registry.GetDevice(rp.GetDeviceRequest(device_id=mesh.one))).device.presence.online

    await eventually(away)
    assert await named(end + timedelta(seconds=1)), "a device that is away is found, too"


async def test_a_certificate_that_has_ended_is_logged_with_the_reason(mesh: Mesh) -> None:
    with pytest.raises((LinkEndedError, OSError)):
        device = await LinkDevice.connect(
            mesh.processes.endpoint("link"), mesh.pki.expired("device", mesh.one), mesh.one
        )
        await device.negotiate()
    bridge = mesh.processes.running["jotunheim_bridge"]

    def logged() -> bool:
        lines = [line for line in bridge.log() if line["msg"] == "certificate rejected"]
        return any("expired" in line["why"] for line in lines)

    await eventually(logged)
