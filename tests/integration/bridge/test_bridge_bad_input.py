"""Every row of the table "Bad input" in docs/reference/protocol.md, against the real bridge.

A row here has the id and the literal answer of its row there; tests/unit/bridge/test_protocol_document.py compares
the two. Each peer loses at most its own link: after every row another device is served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from services.chassis import status
from tests.fakes.device import BOOL, LinkDevice, document, hello, led, number
from tests.fixtures.mesh import Mesh
from tests.fixtures.wait import eventually
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.common.v1 import value_pb2
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

NEW, WELCOMED, ACTIVE, PLAIN, CALLED = "new", "welcomed", "active", "plain", "called"
"""Link established; waiting for pages; active; active without features; active with call c1 of led0.blink in flight."""


@dataclass(frozen=True)
class Row:
    """The state of the device, its message, and the literal answer of the table."""

    id: str
    state: str
    send: bytes | dict[str, Any] | Callable[[Mesh, LinkDevice], None]
    answer: str


def offered() -> bytes:
    """Return the document of active devices: an LED, an observed count, an event with text, a forbidden siren."""
    integer = number(cp.VALUE_TYPE_INT, -(2**53), 2**53)
    text = cp.DataSchema(type=cp.VALUE_TYPE_STRING, max_length=8)
    note = cp.Event(name="noted", fields=[cp.Parameter(name="text", schema=text, optional=True)])
    count = cp.Property(name="count", schema=integer, readable=True, observable=True)
    still = cp.Property(name="still", schema=BOOL, readable=True)
    level = cp.Property(name="level", schema=cp.DataSchema(type=cp.VALUE_TYPE_DOUBLE), observable=True)
    counter = cp.Capability(id="cnt0", type="counter.tally", version=1, properties=[count, still, level], events=[note])
    return document(led(), counter, led("siren0", "actuator.siren"))


def argument(index: int, **value: Any) -> link.Argument:
    return link.Argument(index=index, value=link.LinkValue(**value))


def event(**fields: Any) -> dict[str, Any]:
    whole = {"sequence": 1, "capability": 0, "event": 0, "fields": [argument(0, integer=1)]}
    return {"event": link.Event(**{**whole, **fields})}


def telemetry(*samples: dict[str, Any]) -> dict[str, Any]:
    return {"telemetry": link.Telemetry(samples=[link.Sample(**sample) for sample in samples])}


def result(*values: link.Argument, **fields: Any) -> dict[str, Any]:
    return {"result": link.Result(**{"call_id": "c1", "status": link.RESULT_STATUS_OK, **fields}, values=values)}


def update(digest: bytes = b"d" * 32, size: int = 100) -> dict[str, Any]:
    return {"capability_update": link.CapabilityUpdate(capabilities_digest=digest, capabilities_size_bytes=size)}


def twin(*states: tuple[int, int, dict[str, Any]], **fields: Any) -> dict[str, Any]:
    made = [
        link.TwinState(capability=c, property=p, value=link.LinkValue(**v), status=link.RESULT_STATUS_OK)
        for c, p, v in states
    ]
    return {"twin_report": link.TwinReport(states=made, **fields)}


def certificate_request(der: bytes) -> dict[str, Any]:
    return {"certificate_request": link.CertificateRequest(certificate_request=der)}


def page(offset: int, data: bytes) -> dict[str, Any]:
    return {"capability_page": link.CapabilityPage(offset=offset, data=data)}


def frame(**body: Any) -> bytes:
    data = link.Frame(**body).SerializeToString()
    assert len(data) < 128
    return bytes([len(data)]) + data


def several(*bodies: dict[str, Any]) -> Callable[[Mesh, LinkDevice], None]:
    def send(_: Mesh, device: LinkDevice) -> None:
        for body in bodies:
            device.send(**body)

    return send


def with_hello(**changes: Any) -> Callable[[Mesh, LinkDevice], None]:
    return lambda mesh, device: device.send(hello=hello(mesh.one, document(), **changes))


def with_limits(**changes: int) -> Callable[[Mesh, LinkDevice], None]:
    fields = {"rx_frame_bytes": 1024, "tx_frame_bytes": 1024, "calls_in_flight": 2, "rx_record_bytes": 1024}
    return with_hello(limits=link.Limits(**{**fields, **changes}))


def with_features(*names: str, low: int = 1, high: int = 1, **more: Any) -> Callable[[Mesh, LinkDevice], None]:
    offers = [link.FeatureOffer(name=name, min_version=low, max_version=high, **more) for name in names]
    return with_hello(features=offers)


def with_pages(data: bytes, stated: bytes | None = None) -> Callable[[Mesh, LinkDevice], None]:
    """Return a sender of a Hello with the digest of `stated`, followed by the pages of `data`."""

    def send(mesh: Mesh, device: LinkDevice) -> None:
        device.send(hello=hello(mesh.one, data if stated is None else stated))
        for offset in range(0, len(data), 900):
            device.send(**page(offset, data[offset : offset + 900]))

    return send


def flood_before_contract(mesh: Mesh, device: LinkDevice) -> None:
    device.send(hello=hello(mesh.one, mesh.fresh_document()))
    device.send_bytes(frame(pong=link.Pong()) * 200)


def wide_features(mesh: Mesh, device: LinkDevice) -> None:
    limits = link.Limits(rx_frame_bytes=256, tx_frame_bytes=1024, calls_in_flight=2, rx_record_bytes=1024)
    offers = [link.FeatureOffer(name=f"f{n}" + "x" * 30, min_version=1, max_version=1) for n in range(8)]
    device.send(hello=hello(mesh.one, document(), limits=limits, features=offers))


def cut_off(_: Mesh, device: LinkDevice) -> None:
    device.send_bytes(PING[:5])
    device.close()


WARP = link.FeatureOffer(name="warp", min_version=1, max_version=4, required=True)
PING = frame(ping=link.Ping(token=9))

ROWS = [
    # framing
    Row("frame-empty", NEW, b"\x00", "Goodbye PROTOCOL_ERROR"),
    Row("frame-length-of-4-bytes", NEW, b"\xff\xff\xff\x7f", "Goodbye PROTOCOL_ERROR"),
    Row("frame-of-64-kib", NEW, b"\x81\x80\x04" + b"x" * 10, "Goodbye PROTOCOL_ERROR"),
    Row("frame-above-1024-before-welcome", NEW, b"\x81\x08", "Goodbye PROTOCOL_ERROR"),
    Row("frame-above-agreed", ACTIVE, b"\x81\x08", "Goodbye PROTOCOL_ERROR"),
    Row("frame-not-protobuf", NEW, b"\x05\xff\xff\xff\xff\xff", "Goodbye PROTOCOL_ERROR"),
    Row("frame-truncated-inside", ACTIVE, b"\x03\x42\x05\x08", "Goodbye PROTOCOL_ERROR"),
    Row("frame-body-of-wrong-wire-type", ACTIVE, b"\x02\x70\x01", "Goodbye PROTOCOL_ERROR"),
    Row("frame-two-bodies", ACTIVE, b"\x04\x72\x00\x7a\x00", "Goodbye PROTOCOL_ERROR"),
    Row("frame-field-after-body", ACTIVE, b"\x06\x72\x00\xa2\x06\x01x", "Goodbye PROTOCOL_ERROR"),
    Row("frame-text-not-utf8", ACTIVE, b"\x05\x3a\x03\x0a\x01\xff", "Goodbye PROTOCOL_ERROR"),
    Row("frame-text-zero-byte", ACTIVE, result(call_id="a\0b"), "Goodbye PROTOCOL_ERROR"),
    Row("frame-cut-off", ACTIVE, cut_off, "session ends"),
    Row("body-unknown-critical", ACTIVE, b"\x03\xb2\x01\x00", "Goodbye UNKNOWN_FRAME"),
    Row("body-reserved", ACTIVE, b"\x03\xd2\x02\x00", "Goodbye UNKNOWN_FRAME"),
    Row("body-unknown-optional", ACTIVE, b"\x03\x82\x04\x00", "ignored"),
    Row("field-unknown", ACTIVE, b"\x05\x7a\x03\x98\x06\x01", "ignored"),
    # Hello
    Row("hello-not-first", NEW, {"ping": link.Ping(token=1)}, "Goodbye PROTOCOL_ERROR"),
    Row("hello-repeated", ACTIVE, with_hello(), "Goodbye PROTOCOL_ERROR"),
    Row("hello-device-id-mismatch", NEW, with_hello(device_id="porch-2"), "Refused IDENTITY"),
    Row("hello-protocol-unknown", NEW, with_hello(protocol_min=2, protocol_max=3), "Refused PROTOCOL"),
    Row("hello-protocol-inverted", NEW, with_hello(protocol_min=2, protocol_max=1), "Refused PROTOCOL"),
    Row("hello-protocol-zero", NEW, with_hello(protocol_min=0), "Refused MALFORMED"),
    Row("hello-boot-id-zero", NEW, with_hello(boot_id=0), "Refused MALFORMED"),
    Row("hello-model-too-long", NEW, with_hello(hardware=link.Hardware(model="x" * 32)), "Refused MALFORMED"),
    Row("hello-class-not-ascii", NEW, with_hello(hardware=link.Hardware(device_class="é")), "Refused MALFORMED"),
    Row("hello-version-unprintable", NEW, with_hello(firmware=link.Firmware(version="1\n0")), "Refused MALFORMED"),
    Row("hello-model-zero-byte", NEW, with_hello(hardware=link.Hardware(model="a\0")), "Goodbye PROTOCOL_ERROR"),
    Row("hello-slot-unknown", NEW, with_hello(firmware=link.Firmware(version="1", slot="C")), "Refused MALFORMED"),
    Row("hello-limits-missing", NEW, with_hello(limits=None), "Refused MALFORMED"),
    Row("hello-rx-frame-small", NEW, with_limits(rx_frame_bytes=255), "Refused MALFORMED"),
    Row("hello-rx-frame-large", NEW, with_limits(rx_frame_bytes=16385), "Refused MALFORMED"),
    Row("hello-tx-frame-small", NEW, with_limits(tx_frame_bytes=255), "Refused MALFORMED"),
    Row("hello-tx-frame-large", NEW, with_limits(tx_frame_bytes=16385), "Refused MALFORMED"),
    Row("hello-record-small", NEW, with_limits(rx_record_bytes=511), "Refused MALFORMED"),
    Row("hello-record-large", NEW, with_limits(rx_record_bytes=16385), "Refused MALFORMED"),
    Row("hello-calls-zero", NEW, with_limits(calls_in_flight=0), "Refused MALFORMED"),
    Row("hello-calls-large", NEW, with_limits(calls_in_flight=65), "Refused MALFORMED"),
    Row("hello-digest-length", NEW, with_hello(capabilities_digest=b"short"), "Refused MALFORMED"),
    Row("hello-size-zero", NEW, with_hello(capabilities_size_bytes=0), "Refused MALFORMED"),
    Row("hello-size-large", NEW, with_hello(capabilities_size_bytes=16385), "Refused MALFORMED"),
    Row("hello-features-nine", NEW, with_features(*(f"f{n}" for n in range(9))), "Refused MALFORMED"),
    Row("hello-feature-name", NEW, with_features("Telemetry"), "Refused MALFORMED"),
    Row("hello-feature-duplicate", NEW, with_features("warp", "warp"), "Refused MALFORMED"),
    Row("hello-feature-version-zero", NEW, with_features("warp", low=0), "Refused MALFORMED"),
    Row("hello-feature-versions-inverted", NEW, with_features("warp", low=2), "Refused MALFORMED"),
    Row("hello-features-too-large", NEW, wide_features, "Refused MALFORMED"),
    Row("hello-feature-required", NEW, with_hello(features=[WARP]), "Refused FEATURE"),
    # pages and the document
    Row("page-other-body", WELCOMED, event(), "Goodbye PROTOCOL_ERROR"),
    Row("page-gap", WELCOMED, page(1, b"x"), "Goodbye PROTOCOL_ERROR"),
    Row("page-repeated", WELCOMED, several(page(0, b"x"), page(0, b"x")), "Goodbye PROTOCOL_ERROR"),
    Row("page-empty", WELCOMED, page(0, b""), "Goodbye PROTOCOL_ERROR"),
    Row("page-too-long", WELCOMED, page(0, b"x" * 993), "Goodbye PROTOCOL_ERROR"),
    Row("page-beyond-size", WELCOMED, page(0, b"x" * 992), "Refused CAPABILITIES"),
    Row("page-unsolicited", ACTIVE, page(0, b"x"), "Goodbye PROTOCOL_ERROR"),
    Row("goodbye-between-pages", WELCOMED, {"goodbye": link.Goodbye()}, "Goodbye SHUTDOWN"),
    Row("flood-before-contract", NEW, flood_before_contract, "Goodbye FLOOD"),
    Row("document-unreadable", NEW, with_pages(b"\xff" * 40), "Refused CAPABILITIES"),
    Row(
        "document-33-capabilities",
        NEW,
        with_pages(document(*(led(f"l{n}") for n in range(33)))),
        "Refused CAPABILITIES",
    ),
    # an active session
    Row("event-sequence-zero", ACTIVE, event(sequence=0), "Goodbye PROTOCOL_ERROR"),
    Row("event-replayed", ACTIVE, several(event(), event()), "EventAck 1"),
    Row("event-beyond-window", ACTIVE, several(*(event(sequence=n) for n in range(1, 200))), "Goodbye FLOOD"),
    Row("event-capability-unknown", ACTIVE, event(capability=9), "Goodbye PROTOCOL_ERROR"),
    Row("event-unknown", ACTIVE, event(event=1), "Goodbye PROTOCOL_ERROR"),
    Row("event-of-refused-capability", ACTIVE, event(capability=2), "EventAck 1"),
    Row("event-field-unknown", ACTIVE, event(fields=[argument(1, integer=1)]), "Goodbye PROTOCOL_ERROR"),
    Row("event-field-missing", ACTIVE, event(fields=[]), "Goodbye PROTOCOL_ERROR"),
    Row("event-field-optional-missing", ACTIVE, event(capability=1, fields=[]), "Goodbye PROTOCOL_ERROR"),
    Row("event-field-repeated", ACTIVE, event(fields=[argument(0, integer=1)] * 2), "Goodbye PROTOCOL_ERROR"),
    Row(
        "event-nine-fields", ACTIVE, event(fields=[argument(n, integer=1) for n in range(9)]), "Goodbye PROTOCOL_ERROR"
    ),
    Row("event-field-type", ACTIVE, event(fields=[argument(0, text="1")]), "Goodbye PROTOCOL_ERROR"),
    Row("event-field-without-value", ACTIVE, event(fields=[link.Argument(index=0)]), "Goodbye PROTOCOL_ERROR"),
    Row(
        "event-text-too-long",
        ACTIVE,
        event(capability=1, fields=[argument(0, text="é" * 5)]),
        "Goodbye PROTOCOL_ERROR",
    ),
    Row("telemetry-empty", ACTIVE, telemetry(), "Goodbye PROTOCOL_ERROR"),
    Row("telemetry-nine-samples", ACTIVE, telemetry(*[{"capability": 1}] * 9), "Goodbye PROTOCOL_ERROR"),
    Row("telemetry-capability-unknown", ACTIVE, telemetry({"capability": 9}), "Goodbye PROTOCOL_ERROR"),
    Row("telemetry-property-unknown", ACTIVE, telemetry({"capability": 1, "property": 9}), "Goodbye PROTOCOL_ERROR"),
    Row(
        "telemetry-not-observable",
        ACTIVE,
        telemetry({"capability": 1, "property": 1, "value": link.LinkValue(boolean=True)}),
        "Goodbye PROTOCOL_ERROR",
    ),
    Row(
        "telemetry-out-of-bounds",
        ACTIVE,
        telemetry({"capability": 1, "value": link.LinkValue(integer=2**60)}),
        "Goodbye PROTOCOL_ERROR",
    ),
    Row(
        "telemetry-not-finite",
        ACTIVE,
        telemetry({"capability": 1, "property": 2, "value": link.LinkValue(number=float("nan"))}),
        "Goodbye PROTOCOL_ERROR",
    ),
    Row(
        "telemetry-without-credit",
        ACTIVE,
        several(*[telemetry({"capability": 1, "value": link.LinkValue(integer=1)})] * 300),
        "Goodbye FLOOD",
    ),
    Row(
        "telemetry-not-agreed",
        PLAIN,
        telemetry({"capability": 1, "value": link.LinkValue(integer=1)}),
        "Goodbye FLOOD",
    ),
    Row("telemetry-empty-not-agreed", PLAIN, telemetry(), "Goodbye FLOOD"),
    Row("update-not-agreed", PLAIN, update(), "Goodbye PROTOCOL_ERROR"),
    Row("twin-not-agreed", PLAIN, twin(complete=True), "Goodbye PROTOCOL_ERROR"),
    Row("certificate-not-agreed", PLAIN, certificate_request(b"x"), "Goodbye PROTOCOL_ERROR"),
    Row("certificate-unsolicited", ACTIVE, certificate_request(b"x"), "Goodbye PROTOCOL_ERROR"),
    Row("certificate-empty", ACTIVE, certificate_request(b""), "Goodbye PROTOCOL_ERROR"),
    Row("twin-empty", ACTIVE, twin(), "Goodbye PROTOCOL_ERROR"),
    Row("twin-nine-states", ACTIVE, twin(*[(0, 0, {"boolean": True})] * 9), "Goodbye PROTOCOL_ERROR"),
    Row("twin-capability-unknown", ACTIVE, twin((9, 0, {"boolean": True})), "Goodbye PROTOCOL_ERROR"),
    Row("twin-property-unknown", ACTIVE, twin((0, 9, {"boolean": True})), "Goodbye PROTOCOL_ERROR"),
    Row("twin-not-writable", ACTIVE, twin((0, 1, {"integer": 1})), "Goodbye PROTOCOL_ERROR"),
    Row("twin-value-type", ACTIVE, twin((0, 0, {"text": "on"})), "Goodbye PROTOCOL_ERROR"),
    Row("twin-of-refused-capability", ACTIVE, twin((2, 0, {"boolean": True})), "ignored"),
    Row("twin-without-value", ACTIVE, twin((0, 0, {}), complete=True), "ignored"),
    Row("twin-answers-nothing-sent", ACTIVE, twin((0, 0, {"boolean": True}), version=5), "Goodbye PROTOCOL_ERROR"),
    Row("twin-complete-repeated", ACTIVE, several(*[twin(complete=True)] * 2), "Goodbye PROTOCOL_ERROR"),
    Row("twin-flood", ACTIVE, frame(**twin((0, 0, {"boolean": True}))) * 1100, "Goodbye FLOOD"),
    Row("update-digest-length", ACTIVE, update(b"short"), "Goodbye PROTOCOL_ERROR"),
    Row("update-size-large", ACTIVE, update(size=16385), "Goodbye PROTOCOL_ERROR"),
    Row("update-while-updating", ACTIVE, several(update(), update()), "Goodbye PROTOCOL_ERROR"),
    Row("update-pages-mismatch", ACTIVE, several(update(), page(0, b"x" * 100)), "Goodbye PROTOCOL_ERROR"),
    Row("result-unknown-call", ACTIVE, result(call_id="never"), "ignored"),
    Row("result-call-id-too-long", ACTIVE, result(call_id="x" * 99), "ignored"),
    Row("result-message-too-long", ACTIVE, result(message="x" * 64), "Goodbye PROTOCOL_ERROR"),
    Row("pong-unsolicited", ACTIVE, {"pong": link.Pong(token=1)}, "ignored"),
    Row("goodbye-code-unknown", ACTIVE, {"goodbye": link.Goodbye(code=99)}, "session ends"),  # type: ignore[arg-type]
    Row("ping-flood", ACTIVE, PING * 400, "Goodbye FLOOD"),
    Row("pong-flood", ACTIVE, frame(pong=link.Pong()) * 400, "Goodbye FLOOD"),
    Row("event-replay-flood", ACTIVE, frame(**event()) * 400, "Goodbye FLOOD"),
    Row("result-flood", ACTIVE, frame(**result(call_id="never")) * 400, "Goodbye FLOOD"),
    Row("body-unknown-optional-flood", ACTIVE, b"\x03\x82\x04\x00" * 400, "Goodbye FLOOD"),
    # answers to a call
    Row("result-repeated", CALLED, several(*[result(argument(0, integer=1))] * 2), "call ends OK"),
    Row("result-value-missing", CALLED, result(), "call ends DATA_LOSS"),
    Row("result-more-of-one", CALLED, result(argument(0, integer=1), more=True), "call ends DATA_LOSS"),
    Row("result-value-unknown", CALLED, result(argument(1, integer=1)), "call ends DATA_LOSS"),
    Row("result-value-repeated", CALLED, result(*[argument(0, integer=1)] * 2), "call ends DATA_LOSS"),
    Row("result-nine-values", CALLED, result(*(argument(n, integer=1) for n in range(9))), "call ends DATA_LOSS"),
    Row("result-value-type", CALLED, result(argument(0, text="1")), "call ends DATA_LOSS"),
    Row("result-status-missing", CALLED, result(status=0), "call ends FAILED_PRECONDITION"),
    Row("result-status-unknown", CALLED, result(status=99), "call ends FAILED_PRECONDITION"),
    Row(
        "result-failed-and-more",
        CALLED,
        result(status=link.RESULT_STATUS_HARDWARE, more=True),
        "call ends FAILED_PRECONDITION",
    ),
]
TEXTS = [cp.Parameter(name=f"t{n}", schema=cp.DataSchema(type=cp.VALUE_TYPE_STRING)) for n in range(8)]
NOTE = cp.Action(name="note", arguments=TEXTS)
PAD = document(cp.Capability(id="pad0", type="note.pad", version=1, actions=[NOTE]))
PAD_ARGUMENTS = {f"t{n}": value_pb2.Value(string="x" * 64) for n in range(8)}
"""Together about 600 bytes on the link."""
BRIDGE_BODIES = (
    "welcome",
    "refused",
    "contract",
    "invoke",
    "event_ack",
    "credit",
    "capability_update_ack",
    "twin_delta",
)
BLINK = pb.InvokeRequest(capability="led0", action="blink", call_id="c1", arguments={"times": value_pb2.Value(int=1)})


async def reached(mesh: Mesh, state: str) -> tuple[LinkDevice, asyncio.Future[Any] | None]:
    """Return a device in that state, and its call in flight or None."""
    device = await mesh.device()
    if state == NEW:
        return device, None
    if state == WELCOMED:
        device.send(hello=hello(mesh.one, mesh.fresh_document()))
        assert (await device.expect("welcome")).send_capabilities
        return device, None
    changes: dict[str, Any] = {"features": []} if state == PLAIN else {}
    assert (await device.negotiate(offered(), **changes)).accepted == 2
    if state in (ACTIVE, PLAIN):
        return device, None
    call = asyncio.ensure_future(mesh.bridge.Invoke(pb.InvokeRequest(device_id=mesh.one, **fields_of(BLINK))))
    await device.expect("invoke")
    return device, call


def fields_of(request: pb.InvokeRequest) -> dict[str, Any]:
    return {field.name: value for field, value in request.ListFields()}


async def outcome(call: Awaitable[Any]) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as e:
        return e.code()
    return grpc.StatusCode.OK


async def still_served(device: LinkDevice) -> Iterable[str]:
    """Return the bodies received before the answer to a ping."""
    device.send(ping=link.Ping(token=77))
    seen = []
    while (received := await device.receive()).pong.token != 77:
        seen.append(received.WhichOneof("body") or "")
    return seen


async def no_session(mesh: Mesh) -> bool:
    return await outcome(mesh.bridge.GetSession(pb.GetSessionRequest(device_id=mesh.one))) is grpc.StatusCode.NOT_FOUND


async def check(mesh: Mesh, device: LinkDevice, call: asyncio.Future[Any] | None, answer: str) -> None:
    """Check the bridge's answer against the table."""
    kind, _, which = answer.rpartition(" ")
    if kind == "Goodbye":
        last = (await device.ended())[-1]
        assert link.GoodbyeCode.Name(last.goodbye.code) == f"GOODBYE_CODE_{which}", last
    elif kind == "Refused":
        last = (await device.ended())[-1]
        assert link.RefusedCode.Name(last.refused.code) == f"REFUSED_CODE_{which}", last
        assert 0 < len(last.refused.message.encode()) <= 127
        assert (last.refused.protocol_min, last.refused.protocol_max) == (1, 1)
    elif answer == "ignored":
        assert await still_served(device) == []
    elif kind == "EventAck":
        assert (await device.expect("event_ack")).sequence == int(which)
        assert set(await still_served(device)) <= {"event_ack"}
    elif kind == "call ends":
        assert call is not None
        assert (await outcome(call)).name == which
        assert await still_served(device) == []
    else:
        assert answer == "session ends"
        await eventually(lambda: no_session(mesh))


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS])
async def test_bad_input_has_the_answer_of_the_table(mesh: Mesh, row: Row) -> None:
    device, call = await reached(mesh, row.state)
    if isinstance(row.send, bytes):
        device.send_bytes(row.send)
    elif isinstance(row.send, dict):
        device.send(**row.send)
    else:
        row.send(mesh, device)
    await check(mesh, device, call, row.answer)
    other = await mesh.device(mesh.two)
    await other.negotiate(document())
    assert await still_served(other) == []


@pytest.mark.parametrize("body", BRIDGE_BODIES)
@pytest.mark.parametrize("state", [NEW, ACTIVE])
async def test_a_body_that_only_a_bridge_sends_is_a_protocol_error(mesh: Mesh, body: str, state: str) -> None:
    device, _ = await reached(mesh, state)
    empty = getattr(link.Frame(), body)
    device.send(**{body: empty})
    await check(mesh, device, None, "Goodbye PROTOCOL_ERROR")


async def test_ping_between_pages_is_answered_during_negotiation(mesh: Mesh) -> None:
    device = await mesh.device()
    data = mesh.fresh_document()
    device.send(hello=hello(mesh.one, data))
    await device.expect("welcome")
    device.send(**page(0, data[:10]))
    device.send(ping=link.Ping(token=3))
    assert (await device.expect("pong")).token == 3
    device.send(**page(10, data[10:]))
    assert (await device.expect("contract")).accepted == 1


async def test_optional_feature_is_declined_and_session_continues(mesh: Mesh) -> None:
    device = await mesh.device()
    offers = [link.FeatureOffer(name=name, min_version=1, max_version=4) for name in ("warp", "telemetry")]
    device.send(hello=hello(mesh.one, document(), features=offers))
    chosen = [(f.name, f.version) for f in (await device.expect("welcome")).features]
    assert chosen == [("warp", 0), ("telemetry", 1)]


async def test_digest_that_differs_from_pages_is_refused(mesh: Mesh) -> None:
    true = mesh.fresh_document()
    lie = true.replace(b"led_", b"led-")
    device = await mesh.device()
    device.send(hello=hello(mesh.one, true))
    await device.expect("welcome")
    device.send(**page(0, lie))
    assert (await device.expect("refused")).code == link.REFUSED_CODE_CAPABILITIES
    other = await mesh.device(mesh.two)
    other.send(hello=hello(mesh.two, true))
    assert (await other.expect("welcome")).send_capabilities


async def test_malformed_and_duplicate_capabilities_are_refused(mesh: Mesh) -> None:
    device = await mesh.device()
    data = document(led(), led(), led("9lives"), led("fan0", "fan"), led("led1", version=0))
    notice = await device.negotiate(data)
    assert (notice.accepted, notice.refused) == (1, 4)
    assert [r.reason for r in notice.refusals] == [3, 2, 2, 2]


async def test_notice_fits_refusals_into_frame_limit_of_device(mesh: Mesh) -> None:
    device = await mesh.device()
    limits = link.Limits(rx_frame_bytes=256, tx_frame_bytes=256, calls_in_flight=2, rx_record_bytes=512)
    notice = await device.negotiate(document(*(led(f"{n}" + "x" * 40) for n in range(9))), limits=limits)
    assert notice.refused == 9
    assert 0 < len(notice.refusals) < 4
    assert link.Frame(contract=notice).ByteSize() <= 256


async def test_a_call_larger_than_the_device_can_receive_is_not_sent(mesh: Mesh) -> None:
    limits = link.Limits(rx_frame_bytes=256, tx_frame_bytes=256, calls_in_flight=2, rx_record_bytes=512)
    device = await mesh.device()
    await device.negotiate(PAD, limits=limits)
    request = pb.InvokeRequest(device_id=mesh.one, capability="pad0", action="note", arguments=PAD_ARGUMENTS)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.bridge.Invoke(request)
    info = status.error_info(caught.value)
    assert (caught.value.code(), info and info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CALL_TOO_LARGE")
    assert await still_served(device) == []


async def test_calls_in_flight_are_those_of_this_session(mesh: Mesh) -> None:
    first = await mesh.device()
    await first.negotiate(offered())
    second = await mesh.device()
    limits = link.Limits(rx_frame_bytes=1024, tx_frame_bytes=1024, calls_in_flight=1, rx_record_bytes=1024)
    await second.negotiate(offered(), limits=limits)
    call = asyncio.ensure_future(mesh.bridge.Invoke(pb.InvokeRequest(device_id=mesh.one, **fields_of(BLINK))))
    await second.expect("invoke")
    refused = {**fields_of(BLINK), "call_id": "c2"}
    code = await outcome(mesh.bridge.Invoke(pb.InvokeRequest(device_id=mesh.one, **refused)))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    second.send(**result(argument(0, integer=1)))
    await call


async def test_silent_device_is_disconnected_after_tls(mesh: Mesh) -> None:
    device = await mesh.device()
    assert [f.goodbye.code for f in await device.ended(within_s=20)] == [link.GOODBYE_CODE_TIMEOUT]


async def test_a_device_that_does_not_read_loses_its_own_link(mesh: Mesh) -> None:
    """The device pings but never reads its calls: the queue of the bridge is bounded."""
    files = mesh.pki.files("device", mesh.one)
    device = await LinkDevice.connect(mesh.processes.endpoint("link"), files, mesh.one, room_bytes=4096)
    limits = link.Limits(rx_frame_bytes=1024, tx_frame_bytes=1024, calls_in_flight=64, rx_record_bytes=1024)
    await device.negotiate(PAD, limits=limits)
    call = pb.InvokeRequest(device_id=mesh.one, capability="pad0", action="note", arguments=PAD_ARGUMENTS)
    with pytest.raises(ConnectionError):
        async with asyncio.timeout(40):
            while True:
                device.send_bytes(PING)
                await device.drain()
                await asyncio.gather(*(outcome(mesh.bridge.Invoke(call, timeout=0.1)) for _ in range(16)))
    other = await mesh.device(mesh.two)
    await other.negotiate(document())
    assert await still_served(other) == []
