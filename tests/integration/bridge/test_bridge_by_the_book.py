"""The real bridge and a device written from docs/reference/protocol.md alone, without our codecs."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.fakes import book_device as book
from tests.fakes.book_device import BookDevice, capability, document, message, parameter, prop, schema
from tests.fixtures.mesh import Mesh
from yggdrasil.common.v1 import value_pb2
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

PAGE = (Path(__file__).resolve().parents[3] / "docs/reference/protocol.md").read_text()
PERCENT = schema(book.INT, "%", 0, 100)
BLINK = message(f1="blink", f2=[parameter("times", PERCENT)], f3=[parameter("count", schema(book.INT), optional=True)])
LAMP = capability(
    "lamp0",
    "actuator.lamp",
    properties=[prop("level", PERCENT, "rwo"), prop("note", schema(book.STRING, length=8))],
    actions=[BLINK],
    events=[message(f1="failed", f2=[parameter("code", schema(book.INT), optional=True)])],
)
FEATURES = ("telemetry", "capability_update", "twin")
boots = itertools.count(0x1000)
Connect = Callable[[], Awaitable[BookDevice]]


@pytest.fixture
async def connect(mesh: Mesh) -> Any:
    made: list[BookDevice] = []

    async def dial() -> BookDevice:
        made.append(
            await BookDevice.connect(mesh.processes.endpoint("link"), mesh.pki.directory("device", mesh.one), mesh.one)
        )
        return made[-1]

    yield dial
    for device in made:
        device.close()


@pytest.fixture
async def lamp(connect: Connect) -> BookDevice:
    """An active device with every feature but ota."""
    device = await connect()
    _, notice = await device.negotiate(document(LAMP), FEATURES, boot=next(boots))
    assert notice.body[2] == [1]
    return device


def call(mesh: Mesh, times: int = 3) -> asyncio.Future[Any]:
    arguments = {"times": value_pb2.Value(int=times)}
    request = pb.InvokeRequest(device_id=mesh.one, capability="lamp0", action="blink", arguments=arguments)
    answer: asyncio.Future[Any] = asyncio.ensure_future(mesh.bridge.Invoke(request, timeout=10))
    return answer


def argument(index: int, value: bytes) -> bytes:
    return (message(f1=index) if index else b"") + message(f2=value)


INTEGER_7 = message(f2=14)  # zigzag


async def test_a_call_is_answered(mesh: Mesh, lamp: BookDevice) -> None:
    answer = call(mesh)
    asked = (await lamp.expect(book.INVOKE)).body
    (call_id,), (given,) = asked[1], asked[5]
    assert isinstance(call_id, bytes)
    assert isinstance(given, bytes)
    assert (asked[3], book.decode(given)[2]) == ([3], [message(f2=6)])
    lamp.send(book.RESULT, message(f1=call_id, f2=1, f4=argument(0, INTEGER_7)))
    assert (await answer).results["count"].int == 7


@pytest.mark.parametrize("result", [message(f2=1), message(f2=1, f4=argument(0, INTEGER_7), f5=1)])
async def test_call_ends_in_data_loss_on_wrong_result_count(mesh: Mesh, lamp: BookDevice, result: bytes) -> None:
    answer = call(mesh)
    (call_id,) = (await lamp.expect(book.INVOKE)).body[1]
    assert isinstance(call_id, bytes)
    lamp.send(book.RESULT, message(f1=call_id) + result)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await answer
    assert ended.value.code() is grpc.StatusCode.DATA_LOSS


async def test_events_telemetry_and_twin_have_their_answers(lamp: BookDevice) -> None:
    lamp.send(book.TWIN_REPORT, message(f2=message(f3=message(f2=20), f4=1), f3=1))
    lamp.send(book.EVENT, message(f1=1, f5=argument(0, INTEGER_7)))
    assert (await lamp.expect(book.EVENT_ACK)).body == {1: [1]}
    for _ in range(64):
        lamp.send(book.TELEMETRY, message(f1=message(f3=message(f2=20))))
    granted = 0
    while granted < 32:
        (more,) = (await lamp.expect(book.CREDIT)).body[1]
        assert isinstance(more, int)
        granted += more


async def test_an_update_leads_to_the_next_contract(lamp: BookDevice) -> None:
    offered = document(LAMP, capability("tag0", "note.tag", version=next(boots)))
    lamp.send(book.UPDATE, message(f1=hashlib.sha256(offered).digest(), f2=len(offered)))
    answer = await lamp.expect(book.ANSWER)
    lamp.send(book.PAGE, message(f2=offered))
    assert answer.body[1] == [1]
    assert (await lamp.expect(book.CONTRACT)).body[2] == [2]


async def test_the_bytes_of_the_specification_are_understood(lamp: BookDevice) -> None:
    bytes_of = dict(re.findall(r"^  \| `?([a-z_0-9]+) .*\| `((?:[0-9a-f]{2} ?)+)` \|$", PAGE, re.M))
    lamp.raw(bytes.fromhex(bytes_of["pong"]) + bytes.fromhex(bytes_of["body"]) + bytes.fromhex(bytes_of["ping"]))
    assert (await lamp.expect(book.PONG)).body == {1: [bytes.fromhex("0100000000000000")]}


async def test_hello_stays_valid_at_any_event_number(connect: Connect) -> None:
    boot, features, offered = next(boots), ("telemetry", "a" * 32, "b" * 28), document(LAMP)
    assert 125 + sum(10 + len(name) for name in features) == 224
    for sequence in (1, 2**40, 2**63):
        device = await connect()
        welcome, _ = await device.negotiate(offered, features, boot=boot, rx=256, tx=256)
        assert welcome.size <= 256
        device.send(book.EVENT, message(f1=sequence, f5=argument(0, INTEGER_7)))
        await device.expect(book.EVENT_ACK)
        device.close()


async def test_a_device_without_capabilities_has_a_contract(connect: Connect) -> None:
    device = await connect()
    welcome, notice = await device.negotiate(b"")
    assert (8 in welcome.body, 2 in notice.body, 3 in notice.body) == (False, False, False)


ZERO = {
    "result": (book.RESULT, message(f1="x", f2=6, f3="a\0b")),
    "event": (book.EVENT, message(f1=1, f5=argument(0, message(f4="\0")))),
    "goodbye": (book.GOODBYE, message(f2="\0")),
}


@pytest.mark.parametrize("what", ZERO)
async def test_a_text_with_a_zero_byte_ends_the_link(lamp: BookDevice, what: str) -> None:
    lamp.send(*ZERO[what])
    assert await lamp.end() == "Goodbye PROTOCOL_ERROR"


@pytest.mark.parametrize(
    ("changes", "features", "answer"),
    [
        ({"low": 2, "high": 3, "boot": 0}, ["warp", "warp"], "Refused PROTOCOL"),
        ({"boot": 0}, ["warp"], "Refused MALFORMED"),
        ({"size": 0}, [], "Refused MALFORMED"),
        ({"rx": 256}, ["f" * 32] * 9, "Refused MALFORMED"),
        ({"rx": 256}, [letter * 32 for letter in "abcd"], "Refused MALFORMED"),
    ],
)
async def test_of_several_faults_of_a_hello_the_first_is_answered(
    connect: Connect, changes: dict[str, int], features: list[str], answer: str
) -> None:
    device = await connect()
    device.hello(document(LAMP), features, **changes)
    assert await device.end() == answer


def with_property(of: bytes) -> bytes:
    return capability("bad0", "test.bad", properties=[of])


RULES = {
    "doc-names": [capability("Bad0", "test.bad"), capability("bad0", "bad"), with_property(prop("a-b", PERCENT))],
    "doc-unique": [capability("bad0", "test.bad", properties=[prop("a", PERCENT)] * 2)],
    "doc-version": [capability("bad0", "test.bad", version=0)],
    "doc-counts": [capability("bad0", "test.bad", events=[message(f1=f"e{n}") for n in range(17)])],
    "doc-access": [with_property(prop("a", PERCENT, ""))],
    "doc-type": [with_property(prop("a", schema(9))), with_property(message(f1="a", f3=1))],
    "doc-unit": [with_property(prop("a", schema(book.INT, unit))) for unit in ("percent", "°C", "dBm", "sec")],
    "doc-bounds": [
        with_property(prop("a", schema(book.INT, "", 2, 1))),
        with_property(prop("a", schema(book.STRING, "", 0))),
        with_property(prop("a", schema(book.DOUBLE, "", float("nan")))),
    ],
    "doc-int-bounds": [
        with_property(prop("a", schema(book.INT, "", 0.5))),
        with_property(prop("a", schema(book.INT, "", 0, 2.0**63))),
    ],
    "doc-length": [
        with_property(prop("a", schema(book.STRING, length=65))),
        with_property(prop("a", schema(book.INT, length=64))),
    ],
}
FINE = {
    "doc-empty": capability("fine0", "test.fine"),
    "doc-optional": capability(
        "fine0",
        "test.fine",
        actions=[message(f1="a", f2=[parameter("x", PERCENT, optional=True), parameter("y", PERCENT)])],
    ),
}


@pytest.mark.parametrize(("rule", "bad"), [(rule, bad) for rule, several in RULES.items() for bad in several])
async def test_capability_against_a_rule_is_refused_alone(connect: Connect, rule: str, bad: bytes) -> None:
    assert f"| `{rule}` |" in PAGE
    device = await connect()
    _, notice = await device.negotiate(document(bad, LAMP), boot=next(boots))
    (refusal,) = notice.body[4]
    assert isinstance(refusal, bytes)
    assert (notice.body[2], notice.body[3], book.decode(refusal)[2]) == ([1], [1], [2])


@pytest.mark.parametrize("rule", FINE)
async def test_a_capability_by_the_rules_is_taken(connect: Connect, rule: str) -> None:
    device = await connect()
    _, notice = await device.negotiate(document(FINE[rule], LAMP), boot=next(boots))
    assert notice.body[2] == [2]


def test_each_rule_of_a_document_is_tried() -> None:
    assert set(re.findall(r"^\| `(doc-[a-z-]+)` \|", PAGE, re.M)) == set(RULES) | set(FINE)


async def test_frame_is_limited_to_1024_bytes_before_welcome(connect: Connect) -> None:
    device = await connect()
    device.raw(book.varint(1025))
    assert await device.end() == "Goodbye PROTOCOL_ERROR"
    device = await connect()
    device.hello(document(capability("tag0", "note.tag", version=next(boots))), tx=2048)
    await device.expect(book.WELCOME)
    device.send(book.PAGE, message(f2=b"x" * 1500))
    assert await device.end() == "Refused CAPABILITIES"
