"""A session's part in a twin: collecting, reporting and delivering without loss; and the path to the registry."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.clock import SystemClock
from services.domain.contract import LinkTerms
from services.domain.twin import Path, Report
from services.domain.values import Value
from services.jotunheim_bridge.errors import LinkError
from services.jotunheim_bridge.model import negotiation, twin
from services.jotunheim_bridge.model.framing import encode
from services.jotunheim_bridge.model.negotiation import Agreement
from services.jotunheim_bridge.model.policy import Policy
from services.jotunheim_bridge.ports import Desired
from services.jotunheim_bridge.service.meter import Meter
from services.jotunheim_bridge.service.twin import DeviceTwin
from services.jotunheim_bridge.service.twins import BUSY_RETRY_S, MAX_RETRY_S
from tests.fakes.device import BOOL, document, led, number
from tests.fuzz.world import DEVICE, Transport, World, offered_document, pages, valid_hello
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.device.v1 import link_pb2 as link

ON, LEVEL, NAME = ("led0", "on"), ("lamp0", "level"), ("lamp0", "name")


def lamp(capability_id: str = "lamp0") -> cp.Capability:
    level = cp.Property(name="level", schema=number(cp.VALUE_TYPE_DOUBLE, 0, 100, "%"), readable=True, writable=True)
    text = cp.DataSchema(type=cp.VALUE_TYPE_STRING, max_length=64)
    name = cp.Property(name="name", schema=text, readable=True, writable=True)
    deaf = cp.Property(name="secret", schema=BOOL, writable=True)
    return cp.Capability(id=capability_id, type="actuator.lamp", version=1, properties=[level, name, deaf])


def agreed(*capabilities: cp.Capability) -> Agreement:
    """A siren, which is refused, first: positions are those of the document."""
    terms = LinkTerms(1, 256, 256, 2, 1000)
    data = document(led("siren0", "actuator.siren"), *(capabilities or (led(), lamp())))
    return negotiation.agree(DEVICE, data, Policy("p", deny=("actuator.siren",)), terms)


def device(limit: int = 1000) -> DeviceTwin:
    under = agreed()
    return DeviceTwin(under, under.contract.link, Meter(limit, "reports", 60.0, SystemClock()))


def report(*states: tuple[int, int, Any], version: int = 0, complete: bool = False, status: int = 1) -> link.TwinReport:
    kinds = {bool: "boolean", float: "number", str: "text", int: "integer"}
    made = [
        link.TwinState(
            capability=c,
            property=p,
            status=status,  # type: ignore[arg-type]
            value=None if value is None else link.LinkValue(**{kinds[type(value)]: value}),
        )
        for c, p, value in states
    ]
    return link.TwinReport(version=version, states=made, complete=complete)


def desired(revision: int, **values: tuple[Value, int]) -> Desired:
    return Desired(revision, {tuple(name.split("__")): value for name, value in values.items()})  # type: ignore[misc]


def entries(frames: list[link.Frame]) -> list[tuple[int, int, int, object]]:
    """Version, capability, property and value of each entry."""
    return [
        (f.twin_delta.version, e.capability, e.property, getattr(e.value, e.value.WhichOneof("kind") or ""))
        for f in frames
        for e in f.twin_delta.entries
    ]


def live(revision: int = 0) -> DeviceTwin:
    """All is reported and acknowledged, as of that revision of the desired state."""
    one = device()
    one.on_report(report((1, 0, False), complete=True))
    due = one.take_report()
    assert due is not None
    assert one.on_reported(due, revision, {}) == []
    return one


def test_nothing_is_due_before_first_report_completes() -> None:
    one = device()
    one.on_report(report((1, 0, True), (2, 0, 40.0)))
    assert one.take_report() is None
    one.on_report(report((1, 0, False), (2, 1, None), complete=True))
    due = one.take_report()
    assert due is not None
    assert (due.complete, due.answers) == (True, 0)
    assert due.properties == {ON: Report(False), LEVEL: Report(40.0), NAME: Report(None)}


def test_later_desired_state_follows_registry_response() -> None:
    one = device()
    one.on_report(report((1, 0, False), (2, 0, 40.0), complete=True))
    due = one.take_report()
    assert due is not None
    assert one.on_desired(desired(4, led0__on=(True, 3), lamp0__level=(50.0, 4))) == []
    assert one.on_desired(desired(5, led0__on=(True, 3), lamp0__level=(60, 5))) == []
    assert one.on_desired(desired(4, led0__on=(False, 4))) == []  # a late notification
    frames = one.on_reported(due, 4, {ON: True})
    assert entries(frames) == [(4, 1, 0, True), (5, 2, 0, 60.0)]
    assert one.on_desired(desired(5, lamp0__level=(60, 5))) == []


def test_only_changes_since_last_delivery_are_sent() -> None:
    one = live(revision=7)
    assert one.on_desired(desired(7, led0__on=(True, 7))) == []
    assert entries(one.on_desired(desired(9, led0__on=(True, 7), lamp0__level=(1.5, 9)))) == [(9, 2, 0, 1.5)]


@pytest.mark.parametrize(
    "path", [("siren0", "on"), ("led0", "hours"), ("led0", "gone"), ("lamp0", "secret"), ("fan0", "on")]
)
def test_properties_outside_contract_are_not_sent(path: Path) -> None:
    assert live().on_desired(Desired(1, {path: (True, 1), LEVEL: (101.0, 1)})) == []


def test_reports_between_responses_merge_to_newest_values() -> None:
    one = live(revision=9)
    one.on_report(report((1, 0, True), version=8))
    one.on_report(report((1, 0, False), version=9, status=link.RESULT_STATUS_HARDWARE))
    one.on_report(report((2, 0, 3.0)))
    due = one.take_report()
    assert due is not None
    assert (due.complete, due.answers) == (False, 9)
    assert due.properties == {ON: Report(False, "the hardware failed"), LEVEL: Report(3.0)}
    assert one.take_report() is None


def test_failed_report_is_due_again_below_newer_values() -> None:
    one = live(revision=3)
    one.on_report(report((1, 0, True), (2, 0, 1.0), version=3))
    due = one.take_report()
    assert due is not None
    one.on_report(report((1, 0, False)))
    one.on_report_failed(due)
    again = one.take_report()
    assert again is not None
    assert (again.properties, again.answers) == ({ON: Report(False), LEVEL: Report(1.0)}, 3)


def test_new_contract_resets_and_ignores_stale_response() -> None:
    one = device()
    one.on_report(report((1, 0, False), complete=True))
    old = one.take_report()
    assert old is not None
    one.restart(agreed(lamp(), led()))
    assert one.on_reported(old, 1, {ON: True}) == []
    one.on_report_failed(old)
    assert one.on_desired(desired(2, led0__on=(True, 2))) == []
    one.on_report(report((2, 0, False), complete=True))
    due = one.take_report()
    assert due is not None
    assert due.properties == {ON: Report(False)}
    assert entries(one.on_reported(due, 2, {ON: True})) == [(2, 2, 0, True)]


def test_busy_write_is_resent_until_answered_or_replaced() -> None:
    one = live()
    one.on_desired(desired(1, led0__on=(True, 1), lamp0__level=(5.0, 1)))
    one.on_report(report((1, 0, False), (2, 0, 1.0), version=1, status=link.RESULT_STATUS_BUSY))
    assert one.has_retries
    one.on_desired(desired(2, led0__on=(True, 1), lamp0__level=(6.0, 2)))
    assert entries(one.retries()) == [(1, 1, 0, True)]
    assert not one.has_retries
    one.on_report(report((1, 0, True), version=1))
    assert not one.has_retries
    assert one.retries() == []


@pytest.mark.parametrize(
    "bad",
    [
        report(),
        report(*[(1, 0, True)] * 9),
        report((3, 0, True)),
        report((1, 1, 4)),
        report((2, 2, True)),
        report((2, 0, 100.5)),
        report((2, 1, "é" * 33)),
        report((1, 0, True), version=1),
        report((1, 0, True), complete=True),
    ],
)
def test_nonsense_ends_the_session(bad: link.TwinReport) -> None:
    with pytest.raises(LinkError) as caught:
        live().on_report(bad)
    assert caught.value.code == link.GOODBYE_CODE_PROTOCOL_ERROR


def test_too_many_reports_are_a_flood() -> None:
    one = device(limit=3)
    for _ in range(3):
        one.on_report(report((1, 0, True)))
    with pytest.raises(LinkError) as caught:
        one.on_report(report((1, 0, True)))
    assert caught.value.code == link.GOODBYE_CODE_FLOOD


@given(st.dictionaries(st.integers(0, 30), st.text(max_size=16), max_size=31), st.sampled_from([256, 300, 512, 4096]))
def test_any_delta_fits_the_frames_of_the_device_and_holds_all(texts: dict[int, str], limit: int) -> None:
    under = agreed(*(lamp(f"lamp{n}") for n in range(31)))
    values: dict[Path, Value] = {(f"lamp{n}", "name"): text for n, text in texts.items()}
    frames = list(twin.deltas(under, 2**64 - 1, values, limit))
    assert all(frame.ByteSize() <= limit and 1 <= len(frame.twin_delta.entries) <= 8 for frame in frames)
    assert {entry[1] - 1: entry[3] for entry in entries(frames)} == texts


# --- the way to the registry ------------------------------------------------------------------------------------------


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


class Linked:
    """A device of the world with its contract."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.connection, self.transport = world.connect()
        self.say(link.Frame(hello=valid_hello()))
        self.say(*pages(offered_document(), self.transport.frames[0].welcome.page_bytes))
        assert self.transport.frames[-1].WhichOneof("body") == "contract"

    def say(self, *frames: link.Frame) -> None:
        self.world.feed(self.connection, self.transport, b"".join(encode(frame) for frame in frames))

    def reports(self, value: bool, *, version: int = 0, complete: bool = False, status: int = 1) -> None:
        made = report((0, 0, value), version=version, complete=complete, status=status)
        self.say(link.Frame(twin_report=made))

    def deltas(self, transport: Transport | None = None) -> list[tuple[int, int, int, object]]:
        frames = (transport or self.transport).frames
        return entries([frame for frame in frames if frame.WhichOneof("body") == "twin_delta"])


def test_report_carries_session_and_returns_delta(world: World) -> None:
    world.twins.revision, world.twins.desired = 3, {("led0", "on"): True}
    one = Linked(world)
    one.reports(False, complete=True)
    assert [(s.complete, s.contract_revision, s.session_epoch) for s in world.twins.reports] == [(True, 1, 1)]
    assert one.deltas() == [(3, 0, 0, True)]
    one.reports(True, version=3)
    world.settle(1)
    assert (world.twins.reports[1].answers, world.twins.reports[1].complete) == (3, False)


def test_unavailable_registry_is_retried_within_session(world: World) -> None:
    world.twins.away = True
    one = Linked(world)
    one.reports(False, complete=True)
    for value in (True, False, True):
        one.reports(value)
        world.settle(1)
    one.say(link.Frame(ping=link.Ping(token=9)))
    assert one.transport.frames[-1].pong.token == 9
    assert not world.twins.reports
    world.twins.away, world.twins.revision = False, 1
    for _ in range(40):  # it is heard all the while
        one.say(link.Frame(ping=link.Ping(token=9)))
        world.settle(MAX_RETRY_S / 20)
    assert [(s.complete, dict(s.properties)) for s in world.twins.reports] == [(True, {("led0", "on"): Report(True)})]


def test_many_reports_are_few_requests_and_one_at_a_time(world: World) -> None:
    one = Linked(world)
    one.reports(False, complete=True)
    for turn in range(300):
        one.reports(turn % 2 == 0)
    world.settle(1)
    assert len(world.twins.reports) < 300 * 0.05 / 0.1 + 5
    assert world.twins.reports[-1].properties == {("led0", "on"): Report(False)}


def test_a_session_that_ends_leaves_nothing_behind(world: World) -> None:
    world.twins.away = True
    one = Linked(world)
    one.reports(False, complete=True)
    world.loop.call_soon(one.transport.close)
    world.settle(2 * MAX_RETRY_S)
    assert world.bridge.session(DEVICE) is None
    assert not world.bridge.twins._running
    assert len(asyncio.all_tasks(world.loop)) == 0


def test_busy_device_is_sent_the_delta_again_later(world: World) -> None:
    world.twins.revision, world.twins.desired = 3, {("led0", "on"): True}
    one = Linked(world)
    one.reports(False, complete=True)
    one.reports(False, version=3, status=link.RESULT_STATUS_BUSY)
    assert len(one.deltas()) == 1
    world.settle(BUSY_RETRY_S)
    assert one.deltas() == [(3, 0, 0, True)] * 2
