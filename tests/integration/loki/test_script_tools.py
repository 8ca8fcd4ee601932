# ruff: noqa: E501 - scripts in one line
"""Developer tools: tests of scripts on a fake board or a device, and REPL conversations."""

from __future__ import annotations

import pytest

from services.domain.values import Value
from services.loki.adapters.live_worker import LiveWorker
from services.loki.errors import EngineBusyError, InvalidScriptError, ScriptError
from services.loki.lint.check import lint
from services.loki.model import DEFAULT_LIMITS, Language, Limits, LogEntry
from services.loki.programs.errors import WorkerLostError
from services.loki.scripts.board import BOARD_ID, CAPABILITIES
from services.loki.scripts.repl import MAX_CONVERSATIONS, Repl
from services.loki.scripts.testing import Report, ScriptTester, with_harness
from tests.fakes.scripting import LoopClock
from tests.integration.loki.conftest import Lab

pytestmark = pytest.mark.asyncio(loop_scope="module")
LUA, SCHEME = Language.LUA, Language.SCHEME
BOTH = pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])

TESTS = {
    LUA: """
test("the sensor shows the value of the board", function()
  board("temp0.celsius", 80)
  expect_equal(read_temp0_celsius(), 80.0)
end)
test("an LED", function() device.led0.on() expect_true(device.led0.state()) end)
test("a list", function() expect_equal({1, {a = 2}}, {1, {a = 2}}) end)
test("an error", function() expect_error(function() device.led0.blink{times = 99} end, "ARGUMENT_NOT_IN_CONTRACT") end)
test("one that fails", function()
  expect_equal(1 + 1, 3)
end)
test("one that raises", function() local x = nil + 1 end)
log("done")
""",
    SCHEME: """
(test "the sensor shows the value of the board"
  (board "temp0.celsius" 80)
  (expect-equal (read-temp0-celsius) 80.0))
(test "an LED" (led-on) (expect-true (led-state)))
(test "a list" (expect-equal '(1 (a . 2)) (list 1 (cons 'a 2))))
(test "an error" (expect-error (lambda () (call "led0.blink" '((times . 99)))) "ARGUMENT_NOT_IN_CONTRACT"))
(test "one that fails"
  (expect-equal (+ 1 1) 3))
(test "one that raises" (car 1))
(log "done")
""",
}


async def report(
    lab: Lab, language: Language, source: str, subject: str = "", device: str = "", limits: Limits = DEFAULT_LIMITS
) -> Report:
    tester = ScriptTester({**lab.pools}, lab.mesh, LoopClock())
    return await tester.test(source, language, subject=subject, device_id=device, name="t.x", limits=limits)


@BOTH
async def test_each_test_is_reported_with_its_result(lab: Lab, language: Language) -> None:
    found = await report(lab, language, TESTS[language])
    assert [(result.name, result.passed) for result in found.results] == [
        ("the sensor shows the value of the board", True),
        ("an LED", True),
        ("a list", True),
        ("an error", True),
        ("one that fails", False),
        ("one that raises", False),
    ]
    assert "got 2, expected 3" in found.results[4].message
    if language is LUA:
        assert [result.line for result in found.results[4:]] == [10, 12]
    assert [entry.message for entry in found.logs] == ["done"]
    assert lint(TESTS[language], language, {BOARD_ID: CAPABILITIES})[1:] == []  # the failing test is found


@BOTH
async def test_tests_run_on_a_device_too_and_cannot_set_it(lab: Lab, language: Language) -> None:
    source = {
        LUA: 'test("t", function() expect_equal(read_temp0(), 23.5) end) test("b", function() board("temp0.celsius", 1) end)',
        SCHEME: '(test "t" (expect-equal (read-temp0) 23.5)) (test "b" (board "temp0.celsius" 1))',
    }[language]
    found = await report(lab, language, source, device="porch-1")
    assert [result.passed for result in found.results] == [True, False]
    assert "only the fake board" in found.results[1].message


@BOTH
async def test_the_script_under_test_is_run_by_its_tests(lab: Lab, language: Language) -> None:
    subject = {LUA: "local n = args.n or 1\nreturn n * 2", SCHEME: "(define n 1)\n(* n 2)"}[language]
    source = {
        LUA: 'test("t", function() expect_equal(subject(), 2) expect_equal(subject{n = 4}, 8) end)',
        SCHEME: '(test "t" (expect-equal (subject) 2))',
    }[language]
    assert [(r.name, r.passed, r.message) for r in (await report(lab, language, source, subject)).results] == [
        ("t", True, "")
    ]


BROKEN: list[tuple[str, Language, str, str, int]] = [
    ("a syntax error", LUA, "\nreturn return", "near 'return'", 2),
    ("an error outside", LUA, "\nerror('x')", "x", 2),
    ("a loop", LUA, "test('a', function() end) while true do end", "did not end", 1),
    ("a syntax error", SCHEME, "\n(car", "never closed", 2),
    ("an error outside", SCHEME, "\n(car 1)", "car", 2),
]


@pytest.mark.parametrize(
    ("language", "source", "says", "line"), [b[1:] for b in BROKEN], ids=[f"{b[1].value}-{b[0]}" for b in BROKEN]
)
async def test_failure_outside_a_test_counts_as_a_test(
    lab: Lab, language: Language, source: str, says: str, line: int
) -> None:
    last = (await report(lab, language, source, limits=Limits(timeout_s=0.5))).results[-1]
    assert (last.name, last.passed, last.line) == ("(outside of a test)", False, line)
    assert says in last.message


@BOTH
async def test_every_report_has_its_own_board(lab: Lab, language: Language) -> None:
    await report(lab, language, TESTS[language])
    source = {
        LUA: 'test("t", function() expect_equal(read_temp0(), 21.5) end)',
        SCHEME: '(test "t" (expect-equal (read-temp0) 21.5))',
    }[language]
    assert [r.passed for r in (await report(lab, language, source)).results] == [True]


async def test_harness_is_one_line_and_keeps_line_numbers() -> None:
    assert with_harness(LUA, "", "").count("\n") == with_harness(SCHEME, "", "").count("\n") == 0


def repl(lab: Lab) -> Repl:
    async def start(language: Language) -> LiveWorker:
        return await LiveWorker.start(await lab.commands[language]())

    return Repl(start, lab.mesh, lab.publisher, LoopClock())


@BOTH
async def test_session_keeps_its_globals_after_an_error(lab: Lab, language: Language) -> None:
    texts: dict[Language, list[tuple[str, Value]]] = {
        LUA: [
            ("x = 20", None),
            ("x + 1", 21),
            ("function f(n) return n * x end", None),
            ("f(2)", 40),
            ("read_temp0()", 23.5),
        ],
        SCHEME: [
            ("(define x 20)", None),
            ("(+ x 1)", 21),
            ("(define (f n) (* n x))", None),
            ("(f 2)", 40),
            ("(read-temp0)", 23.5),
        ],
    }
    logs: list[LogEntry] = []
    async with repl(lab).conversation(language, "porch-1") as conversation:
        for text, value in texts[language]:
            assert await conversation.evaluate(text, logs.append) == value
        with pytest.raises(ScriptError) as caught:
            await conversation.evaluate("error('no')" if language is LUA else "(car 1)", logs.append)
        assert caught.value.reason == "SCRIPT_ERROR"
        with pytest.raises(ScriptError) as caught:
            await conversation.evaluate("return return" if language is LUA else "(car", logs.append)
        assert caught.value.reason == "SYNTAX"
        with pytest.raises((ScriptError, WorkerLostError)):
            await conversation.evaluate("while true do end" if language is LUA else "(let loop () (loop))", logs.append)
        assert await conversation.evaluate("x" if language is SCHEME else "return x", logs.append) == 20
        await conversation.evaluate('log("hi")' if language is LUA else '(log "hi")', logs.append)
    assert [entry.message for entry in logs] == ["hi"]


async def test_there_are_only_so_many_conversations(lab: Lab) -> None:
    busy = repl(lab)
    busy._open = MAX_CONVERSATIONS
    with pytest.raises(EngineBusyError):
        async with busy.conversation(LUA, ""):
            raise AssertionError("it opened")
    busy._open = 0
    async with busy.conversation(LUA, "") as conversation:
        assert await conversation.evaluate("1", lambda _: None) == 1
    assert busy._open == 0


async def test_an_empty_text_of_tests_is_no_tests(lab: Lab) -> None:
    assert (await report(lab, LUA, "local x = 1")).results == []
    with pytest.raises(InvalidScriptError):
        await report(lab, LUA, "--" + "x" * 300_000)
