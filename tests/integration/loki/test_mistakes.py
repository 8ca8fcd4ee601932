"""The mistakes of `mistakes.MISTAKES`, in scripts and in programs."""

from __future__ import annotations

import re

import pytest

from services.loki.adapters.live_worker import LiveWorker
from services.loki.errors import ScriptError
from services.loki.model import Language
from services.loki.scripts.repl import Repl
from tests.fakes.scripting import LoopClock
from tests.integration.loki.conftest import Lab
from tests.integration.loki.mistakes import MISTAKES, Mistake

pytestmark = pytest.mark.asyncio(loop_scope="module")
ADDRESS = re.compile(r"0x[0-9a-f]{6,}|\b[0-9a-f]{12}\b")


@pytest.mark.parametrize("mistake", MISTAKES, ids=[f"{m.language.value}-{m.name}" for m in MISTAKES])
async def test_mistake_is_reported_with_line_and_advice(lab: Lab, mistake: Mistake) -> None:
    error = await lab.failure(mistake.language, mistake.source)
    text = f"{error.message} | {error.hint}"
    assert all(part in text for part in mistake.says), text
    assert error.line == mistake.line
    assert not ADDRESS.search(f"{text} {error.traceback}")


@pytest.mark.parametrize("language", list(Language), ids=lambda language: language.value)
async def test_a_program_that_lives_names_the_same_mistakes(lab: Lab, language: Language) -> None:
    async def start(_: Language) -> LiveWorker:
        return await LiveWorker.start(await lab.commands[language]())

    wrong: list[tuple[str, str]] = []
    async with Repl(start, lab.mesh, lab.publisher, LoopClock()).conversation(language, "porch-1") as conversation:
        for mistake in (mistake for mistake in MISTAKES if mistake.language is language):
            with pytest.raises(ScriptError) as caught:
                await conversation.evaluate(mistake.source, lambda _: None)
            text = f"{caught.value.message} | {caught.value.hint}"
            parts = [part for part in mistake.says if not part.startswith("the result of the script")]
            if not all(part in text for part in parts) or ADDRESS.search(text):
                wrong.append((mistake.name, text))
    assert not wrong


@pytest.mark.parametrize("language", list(Language), ids=lambda language: language.value)
async def test_each_language_has_forty_mistakes(language: Language) -> None:
    rows = [mistake.name for mistake in MISTAKES if mistake.language is language]
    assert len(rows) >= 40
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("value", ["(if #f #f)", "'null", "*unspecified*"])
async def test_the_store_of_a_run_does_not_keep_nothing(lab: Lab, value: str) -> None:
    error = await lab.failure(Language.SCHEME, f"\n(store 'k {value})")
    assert (error.line, error.message) == (2, "nothing cannot be kept under 'k'")
    assert error.hint == 'Forget it: (store-delete "k")'


async def test_an_error_of_the_host_joins_a_text(lab: Lab) -> None:
    source = """local ok, e = pcall(device.read, device, "temp0.kelvin")
        return {"failed: " .. e, e .. "!", e .. " and " .. e}"""
    text = "temp0 of porch-1 has no property kelvin"
    assert await lab.value(Language.LUA, source) == [f"failed: {text}", f"{text}!", f"{text} and {text}"]


CONDITIONS = {
    "(car 5)": "car: argument 1 is 5, not a pair",
    "(/ 1 0)": "/: division by zero",
    "(f 1)": "f takes 2 arguments, not 1",
    "(undefined)": "undefined is not defined.",
    '(error "too hot:" 80)': "too hot: 80",
    "(raise 'boom)": "boom",
    '(property-read "led9.on")': "porch-1 has no capability led9",
    '(vector-ref (vector) "x")': 'vector-ref: argument 2 is "x"',
}


@pytest.mark.parametrize(("raising", "says"), CONDITIONS.items(), ids=CONDITIONS)
@pytest.mark.parametrize("printed", ["(log e)", "(display e)", '(log (format #f "~a" e))'])
async def test_any_condition_is_logged_as_readable_text(lab: Lab, raising: str, says: str, printed: str) -> None:
    await lab.value(Language.SCHEME, f"(define (f a b) (list a b))\n(guard (e (#t {printed} 1)) (list {raising}))")
    assert lab.log[-1].message.startswith(says)


@pytest.mark.parametrize(("raising", "says"), CONDITIONS.items(), ids=CONDITIONS)
@pytest.mark.parametrize(
    "caught",
    [
        "(guard (e (#t (error-object-message e))) (list {}))",
        "(with-handler (lambda (e) (error-object-message e)) (list {}))",
        "(call/cc (lambda (k) (with-exception-handler (lambda (e) (k (error-object-message e))) (lambda () {}))))",
    ],
    ids=["guard", "with-handler", "with-exception-handler"],
)
async def test_the_message_of_any_condition_is_readable(lab: Lab, raising: str, says: str, caught: str) -> None:
    message = await lab.value(Language.SCHEME, f"(define (f a b) (list a b))\n{caught.format(raising)}")
    assert str(message).startswith(says.removesuffix(" 80"))
    assert "~" not in str(message)


OPAQUE = {
    Language.LUA: [
        "log({}, print, function() end, coroutine.create(print))",
        "print({1, {a = {}}}, print)",
        "log({f = print, t = {{}}})",
        "warn(tostring(nil))",
    ],
    Language.SCHEME: [
        "(log car (lambda (x) x) (make-hash-table))",
        "(display (list (lambda (x) x) (delay 1) (make-parameter 1)))",
        '(write (vector (open-input-string "x") (open-output-string)))',
        '(log (format #f "~a ~s" (lambda (x) x) (hash)))',
        "(log (call-with-output-string (lambda (p) (write (lambda (x) x) p))))",
        "(log (call/cc (lambda (k) k)))",
    ],
}


@pytest.mark.parametrize(("language", "source"), [(kind, text) for kind in OPAQUE for text in OPAQUE[kind]])
async def test_no_address_is_printed(lab: Lab, language: Language, source: str) -> None:
    await lab.value(language, f"{source} return 1" if language is Language.LUA else f"{source} (newline) 1")
    lines = [entry.message for entry in lab.log]
    assert lines
    assert not any(ADDRESS.search(line) for line in lines)


async def test_table_is_logged_by_its_content(lab: Lab) -> None:
    await lab.value(Language.LUA, 'log("t", {1, 2, {on = true}}, {["a b"] = 1, [5] = "x"}, json.null, device) return 1')
    assert lab.log[-1].message == 't {1, 2, {on = true}} {["a b"] = 1, [5] = "x"} null device porch-1'


async def test_optional_arguments_of_scheme(lab: Lab) -> None:
    source = """(define* (f a #:optional (b 2) #:key (c 3)) (list a b c))
        (list (f 1) (f 1 5) (f 1 5 #:c 7) ((lambda* (#:optional x) x)) ((lambda* (a #:optional (b a)) (+ a b)) 4))"""
    assert await lab.value(Language.SCHEME, source) == [[1, 2, 3], [1, 5, 3], [1, 5, 7], False, 8]
