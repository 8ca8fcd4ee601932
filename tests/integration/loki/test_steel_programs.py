"""The dialect steel in deployed programs, on the real mesh: the page's table, and the arguments of handlers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, cast

import pytest
import pytest_asyncio

from services.chassis import codec
from tests.fakes.device import LinkDevice, document, number
from tests.fixtures.mesh import Mesh, Processes, client
from tests.fixtures.pki import Pki
from tests.fixtures.wait import eventually
from tests.integration.loki.programs import RUNNING, SCHEME, Programs
from tests.integration.loki.steel import BEFORE, ROWS, SAME
from tests.integration.loki.test_program_host_api import Board, capabilities
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.common.v1 import value_pb2
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.loki.v1 import program_pb2 as pb
from yggdrasil.registry.v1 import twin_pb2 as tp
from yggdrasil.registry.v1 import twin_pb2_grpc


class SensorBoard(Board):
    """A device with three sensors and a settable temperature."""

    def __init__(self, device: LinkDevice) -> None:
        super().__init__(device)
        self.readings = {1: 23.5, 2: 41.0, 3: 87.0}

    def _done(self, invoke: link.Invoke) -> list[link.Argument]:
        if invoke.operation == link.OPERATION_READ and invoke.capability in self.readings:
            return [link.Argument(index=0, value=link.LinkValue(number=self.readings[invoke.capability]))]
        return super()._done(invoke)


def sensors() -> list[cp.Capability]:
    def sensor(name: str, kind: str, prop: str) -> cp.Capability:
        percent = cp.Property(name=prop, schema=number(cp.VALUE_TYPE_DOUBLE, 0, 100, "%"), readable=True)
        return cp.Capability(id=name, type=kind, version=1, properties=[percent])

    return [*capabilities(), sensor("hum0", "sensor.humidity", "percent"), sensor("bat0", "sensor.battery", "percent")]


@pytest_asyncio.fixture
async def board(mesh: Mesh) -> AsyncIterator[SensorBoard]:
    """The device `mesh.one`, connected and serving."""
    found = SensorBoard(await mesh.device(mesh.one))
    await found.device.negotiate(document(*sensors()))
    serving = asyncio.create_task(found.serve())
    yield found
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


@pytest_asyncio.fixture
async def twins(shared_processes: Processes, pki: Pki) -> AsyncIterator[Any]:
    async with client(shared_processes.endpoint("registry"), pki) as channel:
        yield twin_pb2_grpc.TwinServiceStub(channel)


async def deployed(programs: Programs, mesh: Mesh, name: str, source: str, **manifest: Any) -> None:
    await programs.load(name, source, SCHEME, **manifest)
    await programs.deploy(name, device_id=mesh.one)
    await programs.state(name, RUNNING)


async def heard(programs: Programs, mesh: Mesh, name: str, expected: Any) -> None:
    async def is_there() -> bool:
        return expected in cast("list[Any]", await programs.eval(name, "heard", mesh.one))

    await eventually(is_there, 20, f"{expected!r} in what {name} has heard")


async def test_steel_row_holds_in_a_program(programs: Programs, mesh: Mesh, board: SensorBoard) -> None:
    await deployed(programs, mesh, "steel_rows", BEFORE, limits={"host_calls_per_second": 1000})
    wrong = []
    for row in ROWS:
        got = await programs.eval("steel_rows", row.text, mesh.one)
        expected = row.script if row.program is SAME else row.program
        if got != expected:
            wrong.append((row.title, got, expected))
        if row.title == "an event of the device":
            await eventually(partial(heard_after, board.fails, programs, mesh, row.heard))
        elif row.heard is not None and not row.messages:
            await heard(programs, mesh, "steel_rows", row.heard)
    assert not wrong
    await programs.load("voice", '(mqtt-publish "commands/stop-now" "on")', SCHEME)
    await programs.deploy("voice", device_id=mesh.one)
    for row in (row for row in ROWS if row.messages):
        await heard(programs, mesh, "steel_rows", row.heard)


async def heard_after(act: Callable[[], None], programs: Programs, mesh: Mesh, expected: Any) -> bool:
    """Send an event again until a handler has noted it: an event before the subscription is lost."""
    act()
    return expected in cast("list[Any]", await programs.eval("steel_rows", "heard", mesh.one))


async def test_foreign_message_reaches_steel_as_topic_and_text(
    programs: Programs, mesh: Mesh, board: SensorBoard
) -> None:
    source = f'{BEFORE} (register-event-handler "mqtt-message" (lambda (topic payload) (note topic payload)))'
    await deployed(programs, mesh, "ear", source)
    await programs.run("radio", "publish('room_1.alarm', {celsius = 31})")
    await heard(programs, mesh, "ear", ["room_1/alarm", '{"celsius":31}'])


async def test_steel_program_gets_own_messages_only_if_subscribed(
    programs: Programs, mesh: Mesh, board: SensorBoard
) -> None:
    source = f"""{BEFORE}
    (register-event-handler "mqtt-message" (lambda (topic payload) (note "every" topic)))
    (mqtt-subscribe "mine/two" (lambda (topic) (note "one" topic)))"""
    await deployed(programs, mesh, "both", source)
    await programs.eval("both", '(begin (mqtt-publish "mine/one" 1) (mqtt-publish "mine/two" 2))', mesh.one)
    await programs.run("whistle", "publish('last', 1)")
    await heard(programs, mesh, "both", ["every", "last"])
    assert await programs.eval("both", "heard", mesh.one) == [
        ["one", {"topic": "mine/two", "payload": "2"}],
        ["every", "last"],
    ]


async def test_steel_handlers_get_arguments_by_arity(programs: Programs, mesh: Mesh, board: SensorBoard) -> None:
    source = f"""{BEFORE}
    (register-event-handler "mqtt-message" (lambda () (note "none")))
    (register-event-handler "mqtt-message" (lambda (message) (note (get message 'topic) (get message 'payload))))
    (register-event-handler "mqtt-message" (lambda (topic payload . more) (note topic payload more)))
    (register-event-handler "sensor" (lambda (readings) (note (get readings 'humidity))))
    (set-timer "named-one" 0.01 (lambda (name) (note name)))
    (set-timer 'plain 0.01 (lambda _ (note _)))
    (schedule-interval 0.05 (lambda (seconds) (note seconds)))"""
    await deployed(programs, mesh, "takers", source)
    await programs.run("bell", "publish('a.b', 'x')")
    takes: list[Any] = [["none"], ["a/b", "x"], ["a/b", "x", []], [41.0], ["named-one"], [[]], [0.05]]
    for expected in takes:
        await heard(programs, mesh, "takers", expected)


async def test_steel_sensor_handler_runs_only_on_changed_reading(
    programs: Programs, mesh: Mesh, board: SensorBoard
) -> None:
    source = f'{BEFORE} (register-event-handler "sensor" (lambda (name value) (note name value)))'
    await deployed(programs, mesh, "watcher", source)
    first = [["temperature", 23.5], ["humidity", 41.0], ["battery", 87.0]]
    await heard(programs, mesh, "watcher", first[-1])
    assert await programs.eval("watcher", "heard", mesh.one) == first
    board.readings[1] = 31.0
    await heard(programs, mesh, "watcher", ["temperature", 31.0])
    assert await programs.eval("watcher", "heard", mesh.one) == [*first, ["temperature", 31.0]]


async def test_steel_timer_rings_once_and_is_gone_when_cancelled(
    programs: Programs, mesh: Mesh, board: SensorBoard
) -> None:
    source = f"""{BEFORE}
    (set-timer "once" 0.01 (lambda () (note "once")))
    (set-timer "never" 0.2 (lambda () (note "never")))
    (set-timer "last" 0.5 (lambda () (note "last")))
    (cancel-timer "never")"""
    await deployed(programs, mesh, "ringer", source)
    await heard(programs, mesh, "ringer", ["last"])
    assert await programs.eval("ringer", "heard", mesh.one) == [["once"], ["last"]]


async def test_steel_timer_without_procedure_or_handler_is_refused(
    programs: Programs, mesh: Mesh, board: SensorBoard
) -> None:
    await deployed(programs, mesh, "bare", BEFORE)
    text = '(guard (e (#t (error-object-message e))) (set-timer "a" 5 \'led-on))'
    assert "a procedure" in str(await programs.eval("bare", text, mesh.one))


async def test_shadow_update_stays_in_twin_after_program_stops(
    programs: Programs, mesh: Mesh, board: SensorBoard, twins: Any
) -> None:
    await deployed(programs, mesh, "shade", '(shadow-update "status" "running") (shadow-update "n" 1)')

    async def reported() -> dict[str, value_pb2.Value]:
        twin = (await twins.GetTwin(tp.GetTwinRequest(device_id=mesh.one))).twin
        return {f"{one.deployment_id}.{key}": value for one in twin.programs for key, value in one.reported.items()}

    running, one = codec.value_to_proto("running"), value_pb2.Value(int=1)
    await eventually(lambda: is_equal(reported, {"shade.status": running, "shade.n": one}))
    await programs.eval("shade", '(begin (shadow-update "n" 2) (shadow-update "n" 2.5))', mesh.one)
    await eventually(lambda: is_equal(reported, {"shade.status": running, "shade.n": value_pb2.Value(double=2.5)}))
    await programs.stub.StopProgram(pb.StopProgramRequest(deployment_id="shade"))
    await programs.state("shade", pb.INSTANCE_STATE_STOPPED)
    assert (await reported())["shade.status"] == running
    instance = (await programs.instances("shade"))[0]
    assert dict(instance.reported) == {"status": running, "n": value_pb2.Value(double=2.5)}


async def is_equal(found: Any, expected: object) -> bool:
    return bool(await found() == expected)


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("(for-each (lambda (n) (shadow-update (number->string n) n)) (iota 33))", "33 keys"),
        ('(shadow-update "big" (make-string 4100 #\\x))', "4096 are allowed"),
        ('(shadow-update "" 1)', "1 to 64 bytes"),
        ("(shadow-update (make-string 65 #\\k) 1)", "1 to 64 bytes"),
    ],
)
async def test_shadow_update_past_a_bound_is_an_error_that_names_it(
    programs: Programs, mesh: Mesh, board: SensorBoard, source: str, part: str
) -> None:
    await deployed(programs, mesh, "bounded", "1")
    text = f"(guard (e (#t (error-object-message e))) {source})"
    assert part in str(await programs.eval("bounded", text, mesh.one))


async def test_program_and_its_package_may_be_of_different_dialects(
    programs: Programs, mesh: Mesh, board: SensorBoard
) -> None:
    await programs.load("plain", "#lang r7rs\n(define (keys) (length (read-sensors)))", SCHEME)
    await deployed(programs, mesh, "mixed", "(import (package plain))", dependencies=[pb.ProgramDependency(id="plain")])
    assert await programs.eval("mixed", "(list (keys) (length (read-sensors)))", mesh.one) == [3, 6]


async def test_program_fails_when_it_calls_undefined_procedure(
    programs: Programs, mesh: Mesh, board: SensorBoard
) -> None:
    source = f'{BEFORE}\n(define (check)\n  (note 1)\n  (mqtt-publsh "a" 1))\n(set-timer "t" 0.2 check)'
    await deployed(programs, mesh, "wrong", source)
    await programs.until_error("wrong", "mqtt-publsh is not defined. Did you mean mqtt-publish?")
    assert await programs.eval("wrong", "heard", mesh.one) == [[1]]
    assert any("wrong.scm:4" in line or "line 4" in line for line in await programs.lines("wrong"))


async def test_offline_device_fails_calls_but_not_steel_program(programs: Programs, mesh: Mesh) -> None:
    board = SensorBoard(await mesh.device(mesh.one))
    await board.device.negotiate(document(*sensors()))
    serving = asyncio.create_task(board.serve())
    source = f"""{BEFORE}
    (define (check) (note "checked" (get (read-sensors) 'temperature)) (set-timer "check" 0.1 check))
    (register-event-handler "sensor" (lambda (name value) (note name value)))
    (register-event-handler "mqtt-message" (lambda (topic payload) (led-on)))
    (schedule-interval 0.1 (lambda () (led-on)))
    (check)"""
    await deployed(programs, mesh, "patient", source)
    await heard(programs, mesh, "patient", ["temperature", 23.5])
    serving.cancel()
    board.device.vanish()

    async def said(part: str) -> bool:
        return any(part in line for line in await programs.lines("patient"))

    await eventually(lambda: said("timer check: "), 20, "a timer that was left out")
    await eventually(lambda: said("It rings again in 1 s"))
    await programs.run("poke", "publish('a.b', 'x')")
    await eventually(lambda: said("event mqtt-message: "))
    await eventually(lambda: said("every 0.1 s: "))
    again = SensorBoard(await mesh.device(mesh.one))
    again.readings[1] = 31.0
    await again.device.negotiate(document(*sensors()))
    serving = asyncio.create_task(again.serve())
    await heard(programs, mesh, "patient", ["checked", 31.0])
    await heard(programs, mesh, "patient", ["temperature", 31.0])
    assert (await programs.statistics("patient", mesh.one)).errors == 0
    serving.cancel()
