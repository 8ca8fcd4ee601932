# ruff: noqa: E501 - programs in tables, one a line
"""Every operation of the table of docs/reference/scripting.md in a deployed program, in both languages, on the real service.

`SPELLINGS` has one row for each; `test_every_operation_of_the_page_has_a_row` compares the two tables.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.domain.values import Value
from tests.fakes.device import BOOL, LinkDevice, document, number
from tests.fixtures.mesh import Mesh
from tests.fixtures.wait import eventually
from tests.integration.loki.programs import LUA, RUNNING, SCHEME, Programs
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.common.v1 import value_pb2
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.loki.v1 import program_pb2 as pb

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "scripting.md"
BEFORE = {
    LUA: "heard = {} function note(v) heard[#heard + 1] = v end",
    SCHEME: "(define heard '()) (define (note v) (set! heard (append heard (list v))))",
}
# The title on the page; in Lua; in Scheme; the value of the call, or `LATER` if a handler notes the value.
LATER = "heard"
SPELLINGS: list[tuple[str, str, str, Value, Value]] = [
    ("list devices", "#ygg.devices() > 0", "(> (length (devices)) 0)", True, None),
    ("find devices", "#ygg.devices{has = 'sensor.temperature@1+', selector = 'own=' .. device.id, online = true}", "(begin (find-devices \"sensor.temperature@1+\") (length (devices `((has . \"sensor.temperature@1+\") (selector . ,(string-append \"own=\" (get (device-info) 'id))) (online . #t)))))", 1, None),
    ("another device", "ygg.device(device.id):read('temp0.celsius')", "(with-device (get (device-info) 'id) (property-read \"temp0.celsius\"))", 23.5, None),
    ("its id", "device.id == device:info().id", "(and (pair? (map device-id (devices))) (equal? (device-id (device-info)) (get (device-info) 'id)))", True, None),
    ("a device in short", "device:info().firmware", "(get (device-info) 'firmware)", "1.0.0", None),
    ("its contract", "device:capabilities()[1].id", "(get (car (capabilities)) 'id)", "led0", None),
    ("read a property", "{device:read('temp0.celsius'), device.temp0.celsius()}", "(list (property-read \"temp0.celsius\") (property-read \"temp0.celsius\"))", [23.5, 23.5], None),
    ("write a property", "device:write('led0.on', true) return device.led0.on()", "(begin (property-write! \"led0.on\" #t) (property-read \"led0.on\"))", None, None),
    ("call an action", "device:call('led0.blink', {times = 3}).count + device.led0.blink{times = 2}.count", "(+ (get (call \"led0.blink\" '((times . 3))) 'count) (get (call \"led0.blink\" '((times . 2))) 'count))", 5, None),
    ("the LED", "device.led0.on() device.led0.off() device.led0.on() return device.led0.state()", "(begin (led-on) (led-off \"led0\") (led-on) (led-state))", True, None),
    ("all sensors", "device:sensors()['temp0.celsius']", "(get (read-sensors) 'temp0.celsius)", 23.5, None),
    ("a property by name", "{read_temp0_celsius(), read_temp0(), device.read_temp0()}", "(list (read-temp0-celsius) (read-temp0) (read_temp0))", [23.5, 23.5, 23.5], None),
    ("set one by name", "set_led0(true) set_led0_brightness(40) device.set_led0(false) return read_led0()", "(begin (set-led0! #t) (set-led0-brightness! 40) (set-led0! #f) (read-led0))", False, None),
    ("the twin", "{device:twin_update({led0 = {on = true}}).desired.led0.on, device:twin().desired.led0.on}", "(list (get (get (get (twin-update! '((led0 . ((on . #t))))) 'desired) 'led0) 'on) (get (get (get (twin) 'desired) 'led0) 'on))", [True, True], None),
    ("log", "log('a', 1) log.debug('d') log.info('i') log.warn('w') log.error('e') print('p') warn('v') return 1", "(begin (log \"a\" 1) (log-debug \"d\") (log-info \"i\") (log-warning \"w\") (log-error \"e\") (display \"p\") (newline) (write 'v) 1)", 1, None),
    ("sleep, in seconds", "sleep(0.01) return 1", "(begin (sleep 0.01) 1)", 1, None),
    ("publish a message", "publish('survey', 1) return 1", "(begin (publish \"survey\" 1) 1)", 1, None),
    ("the time, in seconds since 1970", "time() > 1.7e9", "(> (current-time) 1.7e9)", True, None),
    ("seconds since the start", "sleep(0.02) return uptime() > 0.01", "(begin (sleep 0.02) (> (uptime) 0.01))", True, None),
    ("memory, its limit", "memory_info().limit_bytes", "(get (memory-info) 'limit_bytes)", 4 * 1024 * 1024, None),
    ("text from parts", "format('%03d', 7)", "(format #f \"~3,'0d\" 7)", "007", None),
    ("arguments (`--arg k=v`)", "args.k", "(list-ref (list (arg 'k) (arg 'none 1) (args)) 0)", 5, None),
    ("JSON", "json.decode(json.encode{a = json.array{1, json.null}}).a[1]", "(car (get (json-decode (json-encode '((a . (1 null))))) 'a))", 1, None),
    ("what failed", "(function() local ok, e = pcall(device.read, device, 'temp0.kelvin') return {e.status, e.reason, e.hint ~= nil, #tostring(e) > 0} end)()", "(guard (e ((host-error? e) (list (host-error-status e) (host-error-reason e) (string? (host-error-hint e)) (string? (error-object-message e))))) (property-read \"temp0.kelvin\"))", ["FAILED_PRECONDITION", "NOT_IN_CONTRACT", True, True], None),
    ("**for programs:** a timer, once", "after('a', 0.01, function() note('once') end)", "(after 'a 0.01 (lambda (_) (note \"once\")))", LATER, "once"),
    ("a timer that repeats (0.05 s and more)", "every('r', 0.05, function() note('again') end)", "(every 'r 0.05 (lambda (_) (note \"again\")))", LATER, "again"),
    ("a schedule, cron in UTC", "cron('c', '* * * * *', function() note('cron') end)", "(cron 'c \"* * * * *\" (lambda (_) (note \"cron\")))", None, None),
    ("cancel one of them", "after('gone', 9, print) return {cancel('gone'), cancel('gone')}", "(begin (after 'gone 9 display) (list (cancel 'gone) (cancel 'gone)))", [True, False], None),
    ("an event of the default device, or of another", "on('led0.failed', function(e) note(e.fields.code) end) device:on('led0.failed', function(e) note(e.fields.code) end)", "(begin (on-event \"led0.failed\" (lambda (e) (note (get (get e 'fields) 'code)))) (with-device (get (device-info) 'id) (on-event \"led0.failed\" (lambda (e) (note (get (get e 'fields) 'code))))))", LATER, 7),
    ("of any device", "ygg.on('led0.failed', function(e) note(e.name) end)", "(on-any-event \"led0.failed\" (lambda (e) (note (get e 'name))))", LATER, "failed"),
    ("the device comes and goes", "on('online', print) on('offline', print)", "(begin (on-event 'online display) (on-event 'offline display))", None, None),
    ("an own event", "on('own', note) emit('own', 'mine')", "(begin (on 'own note) (emit 'own \"mine\"))", LATER, "mine"),
    ("messages of the mesh", "subscribe('alarm.fire', function(m) note(m.value) end) publish('alarm.fire', 'hot')", "(begin (subscribe \"alarm.fire\" (lambda (m) (note (get m 'value)))) (publish \"alarm.fire\" \"hot\"))", LATER, "hot"),
    ("keep a value", "store('key', 4)", "(store 'key 4)", None, None),
    ("read it", "{store.load('key'), store.load('none', 'x')}", "(list (load 'key) (load 'none \"x\"))", [4, "x"], None),
    ("forget it; all keys", "{store.keys(), store.delete('key'), store.delete('key')}", "(let* ((keys (store-keys)) (one (store-delete 'key)) (two (store-delete 'key))) (list keys one two))", [["key"], True, False], None),
    ("a package that it is linked with", "require('kit').seven", "(begin (import (package kit)) seven)", 7, None),
]  # fmt: skip


def capabilities() -> list[cp.Capability]:
    integer = cp.VALUE_TYPE_INT
    led = cp.Capability(
        id="led0",
        type="actuator.led",
        version=1,
        properties=[
            cp.Property(name="on", schema=BOOL, readable=True, writable=True),
            cp.Property(name="brightness", schema=number(integer, 0, 100, "%"), readable=True, writable=True),
        ],
        actions=[
            cp.Action(
                name="blink",
                arguments=[cp.Parameter(name="times", schema=number(integer, 1, 20))],
                results=[cp.Parameter(name="count", schema=cp.DataSchema(type=integer))],
            )
        ],
        events=[cp.Event(name="failed", fields=[cp.Parameter(name="code", schema=cp.DataSchema(type=integer))])],
    )
    celsius = cp.Property(name="celsius", schema=number(cp.VALUE_TYPE_DOUBLE, -40, 125, "Cel"), readable=True)
    return [led, cp.Capability(id="temp0", type="sensor.temperature", version=1, properties=[celsius])]


class Board:
    """A device that executes every request."""

    def __init__(self, device: LinkDevice) -> None:
        self.device, self._sequence = device, 0
        self._led = [link.LinkValue(boolean=False), link.LinkValue(integer=0)]

    async def serve(self) -> None:
        """Serve requests until the link ends."""
        while True:
            frame = await self.device.receive(60)
            if frame.HasField("ping"):
                self.device.send(pong=link.Pong(token=frame.ping.token))
            elif frame.HasField("invoke"):
                values = self._done(frame.invoke)
                result = link.Result(call_id=frame.invoke.call_id, status=link.RESULT_STATUS_OK, values=values)
                self.device.send(result=result)

    def _done(self, invoke: link.Invoke) -> list[link.Argument]:
        if invoke.operation == link.OPERATION_WRITE:
            self._led[invoke.member] = invoke.arguments[0].value
            return []
        if invoke.operation == link.OPERATION_READ:
            value = link.LinkValue(number=23.5) if invoke.capability == 1 else self._led[invoke.member]
        else:
            value = invoke.arguments[0].value
        return [link.Argument(index=0, value=value)]

    def fails(self) -> None:
        """Send the failure event of the LED."""
        self._sequence += 1
        code = [link.Argument(index=0, value=link.LinkValue(integer=7))]
        self.device.send(event=link.Event(sequence=self._sequence, capability=0, event=0, fields=code))


async def heard_of(
    programs: Programs, name: str, device: str, expected: Value, fails: Callable[[], None] | None = None
) -> None:
    """Wait until a handler has noted a value; repeat `fails`, because an event before the subscription is lost."""

    async def heard() -> bool:
        if fails is not None:
            fails()
        found: Any = await programs.eval(name, "heard", device)
        return expected in found

    await eventually(heard, 20)


@pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])
async def test_every_operation_works_as_documented(programs: Programs, mesh: Mesh, language: Any) -> None:
    from yggdrasil.registry.v1 import registry_pb2 as rp

    await mesh.registry.RegisterDevice(rp.RegisterDeviceRequest(device_id=mesh.one, labels={"own": mesh.one}))
    board = Board(await mesh.device(mesh.one))
    await board.device.negotiate(document(*capabilities()))
    serving = asyncio.create_task(board.serve())
    name = "api_lua" if language == LUA else "api_scm"
    await programs.load(
        "kit",
        *(("return {seven = 7}", LUA) if language == LUA else ("(define seven 7)", SCHEME)),
        version=f"{language}.0.0",
    )
    await programs.load(
        name,
        BEFORE[language],
        language,
        parameters=[pb.ProgramParameter(name="k")],
        dependencies=[pb.ProgramDependency(id="kit", minimum_version=f"{language}.0.0")],
        limits={"host_calls_per_second": 1000},
    )
    await programs.deploy(name, device_id=mesh.one, arguments={"k": value_pb2.Value(int=5)})
    await programs.state(name, RUNNING)
    wrong = []
    for what, lua, scheme, value, heard in SPELLINGS:
        got = await programs.eval(name, lua if language == LUA else scheme, mesh.one)
        if value == LATER:
            fails = board.fails if isinstance(heard, int) or heard == "failed" else None
            await heard_of(programs, name, mesh.one, heard, fails)
        elif value is not None and got != value:
            wrong.append((what, got, value))
    assert not wrong
    serving.cancel()


def test_every_operation_of_the_page_has_a_row() -> None:
    page = PAGE.read_text()
    table = page[page.index("| what | Lua | Scheme |") :].split("\n\n")[0].splitlines()[2:]
    assert [row.split("|")[1].strip() for row in table] == [row[0] for row in SPELLINGS]
    for row, (_, lua, scheme, _, _) in zip(table, SPELLINGS, strict=True):
        for column, text in ((2, lua), (3, scheme)):
            for name in re.findall(r"`\(?([a-z][a-z0-9_.:!?-]*)", row.split("|")[column]):
                parts = (name, name.rpartition(".")[0] or name, re.split("[.:]", name)[-1])
                assert any(part in text for part in parts), f"{name} is not in the row of {row}"
