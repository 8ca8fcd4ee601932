"""Tests of timers, handlers and stores under a manual clock: no test waits for real time."""

from __future__ import annotations

import pytest

from services.loki.model import DEFAULT_LIMITS, Language, Limits
from services.loki.scripts.testing import Report, ScriptTester
from tests.fakes.scripting import LoopClock
from tests.integration.loki.conftest import Lab

pytestmark = pytest.mark.asyncio(loop_scope="module")
LUA, SCHEME = Language.LUA, Language.SCHEME
BOTH = pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])

LUA_TESTS = """
test("a timer rings once, when its time has come", function()
  local rang = 0
  after("once", 60, function() rang = rang + 1 end)
  advance(59) expect_equal(rang, 0)
  advance(1) expect_equal(rang, 1)
  advance(3600) expect_equal(rang, 1)
end)
test("a timer that repeats, and one that is cancelled", function()
  local rang, never = 0, 0
  every("again", 1.5, function() rang = rang + 1 end)
  every("never", 1, function() never = never + 1 end)
  expect_true(cancel("never"))
  advance(15)
  expect_equal({rang, never}, {10, 0})
end)
test("a schedule rings by the clock that the test moves", function()
  local at = {}
  cron("noon", "30 12 * * *", function() at[#at + 1] = time() end)
  advance(2 * 86400)
  expect_equal(at, {1772368200, 1772454600})
end)
test("nothing of the test before is left", function()
  advance(3600)
  expect_equal(store.keys(), json.array())
end)
test("timers ring in the order of their times, sleep lets others ring", function()
  local heard = {}
  after("b", 2, function() heard[#heard + 1] = "b" end)
  after("a", 1, function() heard[#heard + 1] = "a" sleep(5) heard[#heard + 1] = "after" end)
  advance(1)
  expect_equal(heard, {"a", "b", "after"})
  expect_equal(uptime() >= 6, true)
end)
test("an event of the board, an own one, and messages", function()
  local heard = {}
  on("online", function(e) heard[#heard + 1] = e.device end)
  on("own", function(v) heard[#heard + 1] = v end)
  subscribe("alarm.fire", function(m) heard[#heard + 1] = m.value end)
  event("online")
  emit("own", 5) advance(0)
  message("alarm/fire", "hot")
  publish("alarm.fire", "mine") advance(0)
  expect_equal(heard, {"board-1", 5, "hot", "mine"})
  expect_equal(published(), {{topic = "alarm.fire", value = "mine"}})
end)
test("a store", function()
  store("k", {1, 2})
  expect_equal({store.load("k"), store.load("none", 7)}, {{1, 2}, 7})
  expect_true(store.delete("k"))
end)
test("what fails in a handler fails the test", function()
  after("bad", 1, function() error("boom") end)
  advance(2)
end)
test("a timer that is due while it runs is left out", function()
  local rang = 0
  every("slow", 1, function() rang = rang + 1 sleep(2.5) end)
  advance(7)
  expect_equal(rang, 3)
end)
"""
SCHEME_TESTS = """
(test "a timer rings once, when its time has come"
  (define rang 0)
  (after 'once 60 (lambda (_) (set! rang (+ rang 1))))
  (advance 59) (expect-equal rang 0)
  (advance 1) (expect-equal rang 1)
  (advance 3600) (expect-equal rang 1))
(test "a timer that repeats, and one that is cancelled"
  (define rang 0) (define never 0)
  (every 'again 1.5 (lambda (_) (set! rang (+ rang 1))))
  (every 'never 1 (lambda (_) (set! never (+ never 1))))
  (expect-true (cancel 'never))
  (advance 15)
  (expect-equal (list rang never) '(10 0)))
(test "a schedule rings by the clock that the test moves"
  (define at '())
  (cron 'noon "30 12 * * *" (lambda (_) (set! at (cons (current-time) at))))
  (advance (* 2 86400))
  (expect-equal at '(1772454600.0 1772368200.0)))
(test "nothing of the test before is left"
  (advance 3600)
  (expect-equal (store-keys) '()))
(test "timers ring in the order of their times, sleep lets others ring"
  (define heard '()) (define (note x) (set! heard (cons x heard)))
  (after 'b 2 (lambda (_) (note "b")))
  (after 'a 1 (lambda (_) (note "a") (sleep 5) (note "after")))
  (advance 1)
  (expect-equal heard '("after" "b" "a"))
  (expect-true (>= (uptime) 6)))
(test "an event of the board, an own one, and messages"
  (define heard '()) (define (note x) (set! heard (cons x heard)))
  (on-event 'online (lambda (e) (note (get e 'device))))
  (on 'own note)
  (subscribe "alarm.fire" (lambda (m) (note (get m 'value))))
  (event "online")
  (emit 'own 5) (advance 0)
  (message "alarm/fire" "hot")
  (publish "alarm.fire" "mine") (advance 0)
  (expect-equal heard '("mine" "hot" 5 "board-1"))
  (expect-equal (published) '(((topic . "alarm.fire") (value . "mine")))))
(test "a store"
  (store 'k '(1 2))
  (expect-equal (list (load 'k) (load 'none 7)) '((1 2) 7))
  (expect-true (store-delete 'k)))
(test "what fails in a handler fails the test"
  (after 'bad 1 (lambda (_) (error "boom")))
  (advance 2))
(test "a timer that is due while it runs is left out"
  (define rang 0)
  (every 'slow 1 (lambda (_) (set! rang (+ rang 1)) (sleep 2.5)))
  (advance 7)
  (expect-equal rang 3))
"""
TESTS = {LUA: LUA_TESTS, SCHEME: SCHEME_TESTS}
STEEL = """
(define heard '())
(define (note . items) (set! heard (append heard (list items))))
(test "an alarm, its message, its report and its pause"
  (board "temp0.celsius" 20)
  (subject)
  (board "temp0.celsius" 31)
  (advance 10)
  (expect-true (led-state))
  (expect-equal (map (lambda (m) (get m 'topic)) (published)) '("alerts.temperature"))
  (advance 100)
  (expect-equal (length (published)) 1)
  (advance 300)
  (expect-equal (length (published)) 2)
  (message "commands/set-threshold" "40")
  (advance 10)
  (expect-equal (led-state) #f)
  (message "commands/stop-monitoring" "")
  (board "temp0.celsius" 50)
  (advance 3600)
  (expect-equal (length (published)) 2))
(test "handlers of the test before are gone"
  (register-event-handler "mqtt-message" (lambda (topic payload) (note topic payload)))
  (message "Room-1/light" "on")
  (expect-equal heard '(("Room-1/light" "on"))))
(test "sensors and reports"
  (set! heard '())
  (board "temp0.celsius" 20)
  (register-event-handler "sensor" (lambda (name value) (note name value) (shadow-update name value)))
  (advance 3)
  (board "temp0.celsius" 25)
  (advance 1)
  (expect-equal (filter (lambda (one) (equal? (car one) "temperature")) heard)
                '(("temperature" 20.0) ("temperature" 25.0)))
  (expect-equal (get (reported) 'temperature) 25.0))
"""


async def report(lab: Lab, language: Language, source: str, subject: str = "", device: str = "") -> Report:
    tester = ScriptTester({**lab.pools}, lab.mesh, LoopClock())
    limits: Limits = DEFAULT_LIMITS
    return await tester.test(source, language, subject=subject, device_id=device, name="t.x", limits=limits)


@BOTH
async def test_timers_handlers_and_stores_run_in_the_time_of_the_test(lab: Lab, language: Language) -> None:
    found = await report(lab, language, TESTS[language])
    wrong = [(one.name, one.message) for one in found.results if not one.passed]
    assert [name for name, _ in wrong] == ["what fails in a handler fails the test"], wrong
    assert "boom" in wrong[0][1]
    assert len(found.results) == 9
    assert found.duration_s < DEFAULT_LIMITS.timeout_s


async def test_example_of_steel_is_tested_in_virtual_time(lab: Lab) -> None:
    from tests.integration.loki.test_examples import EXAMPLES

    subject = (EXAMPLES / "steel" / "sensor_alarm.scm").read_text()
    found = await report(lab, SCHEME, STEEL, subject)
    assert [(one.name, one.message) for one in found.results if not one.passed] == []


@BOTH
async def test_time_of_a_device_cannot_be_moved(lab: Lab, language: Language) -> None:
    source = {
        LUA: 'test("t", function() advance(1) end) test("real", function() sleep(0.01) end)',
        SCHEME: '(test "t" (advance 1)) (test "real" (sleep 0.01))',
    }[language]
    found = await report(lab, language, source, device="porch-1")
    assert [one.passed for one in found.results] == [False, True], found.results
    assert "only on the fake board time can be moved" in found.results[0].message


@BOTH
async def test_operations_of_tests_are_unknown_to_scripts(lab: Lab, language: Language) -> None:
    source = {
        LUA: 'require("ygg.testing").advance(1)',
        SCHEME: "(|an operation of tests| 'advance 1)",
    }[language]
    error = await lab.failure(language, source)
    assert "there is no operation test_advance" in error.message


@BOTH
@pytest.mark.parametrize("seconds", ["-1", "1e10", '"x"'])
async def test_advance_takes_seconds_up_to_a_year(lab: Lab, language: Language, seconds: str) -> None:
    source = {LUA: f'test("t", function() advance({seconds}) end)', SCHEME: f'(test "t" (advance {seconds}))'}
    found = await report(lab, language, source[language])
    assert "time goes on by 0 s to a year" in found.results[0].message
