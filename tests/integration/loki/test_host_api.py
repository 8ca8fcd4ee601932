# ruff: noqa: E501 - scripts in tables, one a line
"""Every operation of the host API, from both languages: the table of docs/reference/scripting.md, held to."""

from __future__ import annotations

from typing import Any

import pytest

from services.domain.errors import Code
from services.domain.values import Value
from services.loki.model import Language, Level, Limits
from tests.integration.loki.conftest import Lab

pytestmark = pytest.mark.asyncio(loop_scope="module")
LUA, SCHEME = Language.LUA, Language.SCHEME

SPELLINGS: list[tuple[str, str, str, Value]] = [
    (
        "list devices",
        "local ids = {} for _, d in ipairs(ygg.devices()) do ids[#ids + 1] = d.id end return ids",
        "(map device-id (devices))",
        ["cellar-1", "porch-1", "shed-1"],
    ),
    (
        "find devices by capability",
        'local ids = {} for _, d in ipairs(ygg.devices{has = "sensor.temperature@1+"}) do ids[#ids + 1] = d.id end return ids',
        '(map device-id (find-devices "sensor.temperature@1+"))',
        ["cellar-1", "porch-1"],
    ),
    (
        "find devices by label and presence",
        'return #ygg.devices{selector = "zone=hall", online = true}',
        "(length (devices '((selector . \"zone=hall\") (online . #t))))",
        1,
    ),
    ("read by name", "return {read_temp0_celsius(), device.read_temp0(), device:read_hum0_percent()}",
     "(list (read-temp0-celsius) (read-temp0) (read_hum0_percent))", [23.5, 23.5, 41.0]),
    ("set by name", "set_led0(true) device.set_led0_brightness(40) return {read_led0(), read_led0_brightness()}",
     "(set-led0! #t) (set_led0_brightness 40) (list (read-led0) (read-led0-brightness))", [True, 40]),
    ("a twin read", "local t = device:twin() return {t.revision, t.reported.temp0.celsius}",
     "(list (get (twin) 'revision) (get (get (get (twin) 'reported) 'temp0) 'celsius))", [0, 23.5]),
    ("a twin updated", "return {device:twin_update{led0 = {brightness = 30}}.desired, device.led0.brightness()}",
     "(list (get (twin-update! '((led0 . ((brightness . 30))))) 'desired) (property-read \"led0.brightness\"))",
     [{"led0": {"brightness": 30}}, 30]),
    ("uptime", "sleep(0.02) local s = uptime() return s > 0.01 and s < 9", "(sleep 0.02) (< 0.01 (uptime) 9)", True),
    ("memory", "return memory_info().limit_bytes", "(get (memory-info) 'limit_bytes)", 16 * 1024 * 1024),
    ("format", 'return format("%03d %s", 7, "x")', '(format #f "~3,\'0d ~a" 7 "x")', "007 x"),
    ("a device in short", "local d = ygg.devices()[2] return {d.id, d.online, d.labels.zone, d.has.led0}", """
        (let ((d (cadr (devices))))
          (list (device-id d) (assq-ref d 'online) (assq-ref (assq-ref d 'labels) 'zone)
                (assq-ref (assq-ref d 'has) 'led0)))""", ["porch-1", True, "hall", "actuator.led@1"]),
    ("device info", "return device:info().firmware", "(assq-ref (device-info) 'firmware)", "1.0.0"),
    (
        "the contract",
        "local c = device:capabilities()[1] return {c.id, c.type, c.actions[1].arguments[1].maximum}",
        """(let ((c (car (capabilities))))
             (list (assq-ref c 'id) (assq-ref c 'type)
                   (assq-ref (car (assq-ref (car (assq-ref c 'actions)) 'arguments)) 'maximum)))""",
        ["led0", "actuator.led", 20],
    ),
    ("call an action", 'return device:call("led0.blink", {times = 3})', "(call \"led0.blink\" '((times . 3)))", {"count": 3}),
    ("call in the device's own words", "return device.led0.blink{times = 2, period_ms = 100}.count",
     "(assq-ref (call \"led0.blink\" '((times . 2) (period_ms . 100))) 'count)", 2),
    ("read a property", 'return device:read("temp0.celsius")', '(property-read "temp0.celsius")', 23.5),
    ("write a property", 'device:write("led0.brightness", 40) return device:read("led0.brightness")',
     '(property-write! "led0.brightness" 40) (property-read "led0.brightness")', 40),
    ("a whole number for a double", 'device:write("memo0.level", 2) return device:read("memo0.level")',
     '(property-write! "memo0.level" 2) (property-read "memo0.level")', 2.0),
    ("a whole double for an int", 'device.led0.brightness(80/2) return device.led0.blink{times = 6/2}.count',
     '(property-write! "led0.brightness" 40.0) (get (call "led0.blink" \'((times . 3.0))) \'count)', 3),
    ("bytes", 'device:write("memo0.raw", "\\xff\\0a") return device:read("memo0.raw")',
     '(property-write! "memo0.raw" #u8(255 0 97)) (property-read "memo0.raw")', b"\xff\0a"),
    ("LED on", "device.led0.on() return device.led0.state()", "(led-on) (led-state)", True),
    ("LED off", "device.led0.on() device.led0.off() return device.led0.state()",
     '(led-on "led0") (led-off "led0") (led-state "led0")', False),
    ("all sensors", "return device:sensors()", "#lang r7rs\n(read-sensors)", {"temp0.celsius": 23.5, "hum0.percent": 41.0}),
    ("another device", 'return ygg.device("cellar-1"):read("temp0.celsius")',
     '(with-device "cellar-1" (property-read "temp0.celsius"))', 23.5),
    ("sleep a fraction", "sleep(0.001) return 1", "(sleep 0.001) 1", 1),
    ("the time", "return time()", "(current-time)", 1772366400.0),
    ("an argument", "return args.zone", "(arg 'zone)", "hall"),
    ("an argument that was not given", "return args.floor or 7", "(arg 'floor 7)", 7),
    ("JSON encode", 'return json.encode({1, 2.5, "x", true})', '(json-encode (list 1 2.5 "x" #t))', '[1,2.5,"x",true]'),
    ("JSON decode", 'return json.decode("{\\"a\\": [1, 2.5, \\"\\\\u00e9\\"]}").a',
     '(assq-ref (json-decode "{\\"a\\": [1, 2.5, \\"\\\\u00e9\\"]}") \'a)', [1, 2.5, "é"]),
]  # fmt: skip


@pytest.mark.parametrize(("lua", "scheme", "expected"), [s[1:] for s in SPELLINGS], ids=[s[0] for s in SPELLINGS])
@pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])
async def test_an_operation(lab: Lab, language: Language, lua: str, scheme: str, expected: Value) -> None:
    source = lua if language is LUA else scheme
    got = await lab.value(language, source, arguments={"zone": "hall"})
    assert got == expected
    assert type(got) is type(expected)


BOTH = pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])


def pick(language: Language, lua: str, scheme: str) -> str:
    return lua if language is LUA else scheme


@BOTH
async def test_write_takes_effect_on_the_device(lab: Lab, language: Language) -> None:
    await lab.value(language, pick(language, "device.led0.on()", "(led-on)"))
    assert lab.porch.state["led0.on"] is True


@BOTH
async def test_every_level_of_the_log(lab: Lab, language: Language) -> None:
    lua = 'log.debug("a", 1) log.info("b") log.warn("c") log.error("d") log("e") print("f", 2)'
    scheme = (
        '(log-debug "a" 1) (log-info "b") (log-warning "c") (log-error "d") (log "e") (display "f") (write 2) (newline)'
    )
    await lab.value(language, pick(language, lua, scheme))
    levels = [Level.DEBUG, Level.INFO, Level.WARNING, Level.ERROR, Level.INFO, Level.INFO]
    assert [entry.level for entry in lab.log] == levels
    assert [entry.message for entry in lab.log] == ["a 1", "b", "c", "d", "e", pick(language, "f\t2", "f2")]


async def test_log_of_a_number_is_the_logarithm_in_scheme(lab: Lab) -> None:
    assert await lab.value(SCHEME, "(list (log 1) (log 8 2))") == [0, pytest.approx(3.0)]
    assert lab.log == []


@BOTH
async def test_a_message_is_published_under_the_scripts_name(lab: Lab, language: Language) -> None:
    source = pick(language, 'publish("alarm.heat", {celsius = 80.5})', '(publish "alarm.heat" \'((celsius . 80.5)))')
    await lab.value(language, source, name="examples/Heat Alarm.x")
    assert lab.publisher.messages == [("heat_alarm", "alarm.heat", {"celsius": 80.5})]


@BOTH
@pytest.mark.parametrize(
    ("lua", "scheme", "code", "reason", "says"),
    [
        ('device:read("temp0.kelvin")', '(property-read "temp0.kelvin")', Code.FAILED_PRECONDITION, "NOT_IN_CONTRACT", "kelvin"),
        ('device:write("temp0.celsius", 1)', '(property-write! "temp0.celsius" 1)', Code.FAILED_PRECONDITION, "NOT_IN_CONTRACT", "cannot be written"),
        ('device:call("led0.blink", {times = 99})', "(call \"led0.blink\" '((times . 99)))", Code.FAILED_PRECONDITION, "ARGUMENT_NOT_IN_CONTRACT", "1 to 20"),
        ('device:call("led0.blink", {times = "x"})', "(call \"led0.blink\" '((times . \"x\")))", Code.FAILED_PRECONDITION, "ARGUMENT_NOT_IN_CONTRACT", "times"),
        ('ygg.device("attic-9"):read("temp0.celsius")', '(with-device "attic-9" (property-read "temp0.celsius"))', Code.NOT_FOUND, "DEVICE_NOT_FOUND", "attic-9"),
        ('ygg.device("shed-1").led0.on()', '(with-device "shed-1" (led-on))', Code.UNAVAILABLE, "DEVICE_OFFLINE", "shed-1"),
        ('ygg.device("Not An Id"):info()', '(with-device "Not An Id" (device-info))', Code.INVALID_ARGUMENT, "INVALID_ID", "Not An Id"),
        ('device:read("temp0")', '(property-read "temp0")', Code.INVALID_ARGUMENT, "INVALID_REQUEST", "temp0"),
        ("sleep(-1)", "(sleep -1)", Code.INVALID_ARGUMENT, "INVALID_REQUEST", "seconds"),
        ('sleep("x")', '(sleep "x")', Code.INVALID_ARGUMENT, "INVALID_REQUEST", "seconds"),
        ('publish("no wild*card", 1)', '(publish "no wild*card" 1)', Code.INVALID_ARGUMENT, "INVALID_ID", "card"),
        ('ygg.devices{has = "not a requirement"}', '(find-devices "not a requirement")', Code.INVALID_ARGUMENT, "INVALID_ID", "requirement"),
        ("ygg.devices{zone = 1}", "(devices '((zone . 1)))", Code.INVALID_ARGUMENT, "INVALID_REQUEST", "zone"),
    ],
)  # fmt: skip
async def test_a_failing_operation_ends_the_script_with_its_own_status(
    lab: Lab, language: Language, lua: str, scheme: str, code: Code, reason: str, says: str
) -> None:
    error = await lab.failure(language, "\n" + pick(language, lua, scheme))
    assert (error.code, error.reason, error.line) == (code, reason, 2)
    assert says in error.message


@BOTH
async def test_a_failing_operation_can_be_caught_with_its_reason(lab: Lab, language: Language) -> None:
    lua = """
    local ok, e = pcall(device.read, device, "temp0.kelvin")
    return {ok, e.status, e.reason, tostring(e):find("kelvin") ~= nil, e.hint}"""
    scheme = """
    (guard (e ((host-error? e)
               (list #f (host-error-status e) (host-error-reason e)
                     (string-contains? (error-object-message e) "kelvin") (host-error-hint e))))
      (property-read "temp0.kelvin"))"""
    got = await lab.value(language, pick(language, lua, scheme))
    assert got == [False, "FAILED_PRECONDITION", "NOT_IN_CONTRACT", True, "It has celsius."]


@BOTH
async def test_without_a_default_device_the_error_names_the_option(lab: Lab, language: Language) -> None:
    error = await lab.failure(language, pick(language, "device.led0.on()", "(led-on)"), device="")
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "NO_DEVICE")
    assert "--device" in error.hint


@BOTH
async def test_missing_capability_error_lists_available_ones(lab: Lab, language: Language) -> None:
    error = await lab.failure(language, pick(language, "device.led0.on()", "(led-on)"), device="cellar-1")
    assert error.reason == "NOT_IN_CONTRACT"
    assert "led" in error.message


async def test_lua_capability_lists_its_members(lab: Lab) -> None:
    error = await lab.failure(LUA, "device.led0.blnk()")
    assert (error.reason, error.hint) == ("NOT_IN_CONTRACT", "It has blink, brightness, off, on, state.")


@BOTH
async def test_a_call_may_not_take_longer_than_the_script_has_left(lab: Lab, language: Language) -> None:
    source = pick(language, 'device:read("temp0.celsius")', '(property-read "temp0.celsius")')
    await lab.value(language, source, limits=Limits(timeout_s=2))
    assert 0 < lab.mesh.timeouts[-1] <= 2
    await lab.value(language, source, limits=Limits(timeout_s=200))
    assert lab.mesh.timeouts[-1] == 10


@BOTH
async def test_a_device_that_never_answers_does_not_outlive_the_script(lab: Lab, language: Language) -> None:
    lab.mesh.hanging = True
    source = pick(language, 'device:read("temp0.celsius")', '(property-read "temp0.celsius")')
    error = await lab.failure(language, source, limits=Limits(timeout_s=0.2))
    assert error.reason == "TIMEOUT"
    assert "read porch-1 temp0 celsius" in error.message


@BOTH
async def test_a_message_that_cannot_be_published_is_an_error(lab: Lab, language: Language) -> None:
    lab.publisher.down = True
    error = await lab.failure(language, pick(language, 'publish("a", 1)', '(publish "a" 1)'))
    assert (error.code, error.reason) == (Code.UNAVAILABLE, "NOT_PUBLISHED")


@BOTH
async def test_operations_are_counted(lab: Lab, language: Language) -> None:
    source = pick(language, "sleep(0) sleep(0) return 1", "(sleep 0) (sleep 0) 1")
    assert (await lab.outcome(language, source)).host_calls == 2


@BOTH
@pytest.mark.parametrize("where", ["a comparison in C", "a loop", "an error handler", "a coroutine or continuation"])
async def test_operations_work_at_any_place_in_a_script(lab: Lab, language: Language, where: str) -> None:
    sources: dict[str, tuple[str, str]] = {
        "a comparison in C": (
            "local t = {3, 1, 2} table.sort(t, function(a, b) sleep(0) return a < b end) return t",
            "(sort (list 3 1 2) (lambda (a b) (sleep 0) (< a b)))",
        ),
        "a loop": (
            "local t = {} for i = 1, 3 do sleep(0) t[i] = i end return t",
            "(map (lambda (i) (sleep 0) i) '(1 2 3))",
        ),
        "an error handler": (
            'local ok, t = xpcall(error, function() sleep(0) return {1, 2, 3} end, "x") return t',
            "(with-exception-handler (lambda (e) (sleep 0) '(1 2 3)) (lambda () (raise-continuable 'x)))",
        ),
        "a coroutine or continuation": (
            """local co = coroutine.wrap(function() for i = 1, 3 do sleep(0) coroutine.yield(i) end end)
               return {co(), co(), co()}""",
            """(define return #f) (define resume #f)
               (define (generate) (for-each (lambda (i) (sleep 0) (call/cc (lambda (k) (set! resume k) (return i)))) '(1 2 3)))
               (define (next) (call/cc (lambda (r) (set! return r) (if resume (resume #f) (generate)))))
               (let* ((a (next)) (b (next)) (c (next))) (list a b c))""",
        ),
    }
    assert await lab.value(language, pick(language, *sources[where])) == [1, 2, 3]


@pytest.mark.parametrize("odd", ["no such operation", "too many arguments"])
async def test_worker_cannot_request_unknown_operation(lab: Lab, odd: str) -> None:
    from services.domain.errors import InvalidRequestError
    from services.loki.host import RunHost
    from services.loki.model import script
    from tests.fakes.scripting import LoopClock

    host: Any = RunHost(script("x", LUA), lab.mesh, lab.publisher, LoopClock(), lab.log.append)
    with pytest.raises(InvalidRequestError):
        await host.ask("time" if odd.startswith("too") else "exec", [1, 2, 3])


@pytest.mark.parametrize("language", list(Language), ids=lambda language: language.value)
async def test_timers_and_handlers_of_a_run_are_dropped_and_reported(lab: Lab, language: Language) -> None:
    lua = """every("tick", 1.5, print) cron("noon", "0 12 * * *", print) after("gone", 1, print) cancel("gone")
             device:on("led0.failed", print) subscribe("alarm", print) return 1"""
    scheme = """(every "tick" 1.5 display) (cron "noon" "0 12 * * *" display) (after "gone" 1 display) (cancel "gone")
                (on-event "led0.failed" display) (subscribe "alarm" display) 1"""
    outcome = await lab.outcome(language, pick(language, lua, scheme))
    assert outcome.value == 1
    assert outcome.dropped == (
        "timer tick (every 1.5)",
        "timer noon (cron 0 12 * * *)",
        "handler of led0.failed of porch-1",
        "subscription of alarm",
    )


@pytest.mark.parametrize("language", list(Language), ids=lambda language: language.value)
async def test_a_run_has_no_store(lab: Lab, language: Language) -> None:
    error = await lab.failure(language, pick(language, 'store("a", 1)', '#lang r7rs\n(store "a" 1)'))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "PROGRAM_ONLY")
    assert "ygg program deploy" in error.hint


@pytest.mark.parametrize("language", list(Language), ids=lambda language: language.value)
async def test_name_outside_contract_fails_when_called(lab: Lab, language: Language) -> None:
    error = await lab.failure(language, pick(language, "set_temp0(1) return 1", "(set-temp0! 1) 1"))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "NOT_IN_CONTRACT")
    assert "set_temp0" in error.message


@BOTH
async def test_all_sensors_are_read_with_one_call_in_flight(lab: Lab, language: Language) -> None:
    lab.mesh.calls_in_flight = 1
    got = await lab.value(language, pick(language, "return device:sensors()", "#lang r7rs\n(read-sensors)"))
    assert got == {"temp0.celsius": 23.5, "hum0.percent": 41.0}
