"""The Scheme of scripts is the host's own R7RS: each line of `r7rs.scm` has the same result in `guile --r7rs`.

DIFFERENT lists the differences in the words of docs/reference/scripting.md. Quick by default: every third line;
YGG_LONG_TESTS=1 compares all of them.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from services.loki.engines.scheme import build
from services.loki.errors import ScriptError
from services.loki.model import Language
from tests.integration.loki.conftest import Lab

pytestmark = pytest.mark.asyncio(loop_scope="module")
HERE = Path(__file__).parent
CORPUS = [line for line in (HERE / "r7rs.scm").read_text().splitlines() if not line.startswith(";;;")]
PAGE = (HERE.parents[2] / "docs/reference/scripting.md").read_text()
DRIVER = """
(import (scheme base) (scheme eval) (scheme read) (scheme write) (system base compile))
(define names
  (environment '(scheme base) '(scheme case-lambda) '(scheme char) '(scheme complex) '(scheme cxr) '(scheme inexact)
               '(scheme lazy) '(scheme time) '(scheme write)))
(define (answer line)
  (guard (e (#t "error"))
    (let ((value (compile (read (open-input-string line)) #:env names)) (port (open-output-string)))
      (write value port)
      (get-output-string port))))
(let loop ()
  (let ((line (read-line)))
    (unless (eof-object? line)
      (write-string (answer line))
      (newline)
      (loop))))
"""
SCRIPT = (
    "#lang r7rs\n(define result {}\n) (define port (open-output-string)) (write result port) (get-output-string port)"
)
SEVERAL_STRINGS = "`string-for-each` takes several strings"
DIFFERENT = {
    '(let ((v \'())) (string-for-each (lambda (a b) (set! v (cons (list a b) v))) "abc" "de") v)': SEVERAL_STRINGS,
    '(let ((v \'())) (string-for-each (lambda (a b c) (set! v (cons (list a b c) v))) "abc" "de" "fgh") v)': (
        SEVERAL_STRINGS
    ),
    "(let ((p (open-output-string))) (write-shared '(1 (2 3) (2 3)) p) (get-output-string p))": "equal constants",
    "(let ((p (open-output-string))) (write-shared '((a . b) . (a . b)) p) (get-output-string p))": "equal constants",
    '(guard (e (#t (error-object-message e))) (error \'a "b"))': 'the message of `(error \'who "what")`',
    '(error-object-message (guard (e (#t e)) (error \'sym "msg" 1)))': 'the message of `(error \'who "what")`',
    "'abc|def|": "a bar within a symbol",
    "'a|B|c": "a bar within a symbol",
    "(begin)": "`(begin)` and `(define x)`",
    "(define x)": "`(begin)` and `(define x)`",
    "(map 5 '())": "`map` of a non-procedure",
}
EXPRESSIONS = CORPUS if os.environ.get("YGG_LONG_TESTS") == "1" else list(dict.fromkeys([*CORPUS[::3], *DIFFERENT]))


async def in_a_script(lab: Lab, expression: str) -> str:
    """Return the value as written by a script, or `error`."""
    try:
        return str(await lab.value(Language.SCHEME, SCRIPT.format(expression)))
    except ScriptError as e:
        assert e.reason in ("SCRIPT_ERROR", "SYNTAX"), (expression, e)
        return "error"


@pytest.fixture(scope="module")
def of_guile(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the output of Guile's r7rs mode, by expression."""
    driver = tmp_path_factory.mktemp("r7rs") / "driver.scm"
    driver.write_text(DRIVER)
    argv = [build.find().path, "--r7rs", "--no-auto-compile", "-q", str(driver)]
    done = subprocess.run(
        argv, input="\n".join(EXPRESSIONS) + "\n", capture_output=True, check=True, timeout=120, encoding="utf-8",
        env={"LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.mark.timeout(600)
async def test_every_expression_has_the_result_of_guiles_r7rs_mode(lab: Lab, of_guile: list[str]) -> None:
    assert len(of_guile) == len(EXPRESSIONS)
    found = {expression: await in_a_script(lab, expression) for expression in EXPRESSIONS}
    different = {
        expression: (expected, found[expression])
        for expression, expected in zip(EXPRESSIONS, of_guile, strict=True)
        if found[expression] != expected
    }
    assert {expression: pair for expression, pair in different.items() if expression not in DIFFERENT} == {}
    of_every_guile = {expression for expression, row in DIFFERENT.items() if row != SEVERAL_STRINGS}
    assert of_every_guile <= different.keys() <= DIFFERENT.keys()


@pytest.mark.parametrize("words", sorted(set(DIFFERENT.values())))
async def test_page_lists_all_differences(words: str) -> None:
    assert words in PAGE


async def test_write_shared_without_a_port_prints_labels(lab: Lab) -> None:
    await lab.value(Language.SCHEME, "(let ((x (list 1))) (write-shared (list x x)))")
    assert [entry.message for entry in lab.log] == ["(#1=(1) #1#)"]


@pytest.mark.parametrize(
    "call",
    [
        "(list-tail '(1 2) -1)",
        "(list-ref '(1 2) -1)",
        "(list-set! (list 1) -1 1)",
        "(list-head '(1 2) -1)",
        "(make-string -1)",
        '(string-pad "a" -1)',
        "(list-tail '(1 2) (expt 2 70))",
    ],
)
async def test_an_error_of_bounds_is_an_error_and_no_crash(lab: Lab, call: str) -> None:
    await lab.all_up(Language.SCHEME)
    before = lab.pids(Language.SCHEME)
    error = await lab.failure(Language.SCHEME, call)
    assert error.reason == "SCRIPT_ERROR"
    assert error.message.endswith("is out of range")
    caught = f"(guard (e (#t (write e) (display (error-object-irritants e)) (error-object-message e))) {call})"
    assert str(await lab.value(Language.SCHEME, caught)).endswith("is out of range")
    assert lab.pids(Language.SCHEME) == before
