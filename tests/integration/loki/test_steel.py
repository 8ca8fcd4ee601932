# ruff: noqa: E501 - programs in tables, one a line
"""The dialect steel in scripts: the page's table, the selection of the dialect, and the errors of unknown names."""

from __future__ import annotations

import re

import pytest

from services.domain.capability import Capability, Property, Schema, ValueType
from services.domain.values import Value
from services.loki.lint import dialect
from services.loki.lint.check import lint
from services.loki.model import DEFAULT_LIMITS, Language, Level
from services.loki.scripts.testing import ScriptTester
from tests.fakes.scripting import HUMIDITY, LED, TEMPERATURE, FakeDevice, LoopClock
from tests.integration.loki.conftest import Lab
from tests.integration.loki.steel import BEFORE, ROWS, Row, page_rows

pytestmark = pytest.mark.asyncio(loop_scope="module")
SCHEME = Language.SCHEME
_PERCENT = Schema(ValueType.DOUBLE, "%")
_VOLTS = Schema(ValueType.DOUBLE, "V")
BATTERY = Capability("bat0", "sensor.battery", 1, (Property("percent", _PERCENT, True, False, True),), (), ())


@pytest.fixture
def board(lab: Lab) -> FakeDevice:
    """porch-1 with a battery."""
    device = lab.mesh.add(FakeDevice("porch-1", LED, TEMPERATURE, HUMIDITY, BATTERY))
    device.state["bat0.percent"] = 87.0
    return device


@pytest.mark.parametrize("row", ROWS, ids=[row.title for row in ROWS])
async def test_steel_row_holds_in_a_script(lab: Lab, board: FakeDevice, row: Row) -> None:
    found = await lab.outcome(SCHEME, f"{BEFORE}\n{row.text}")
    assert found.value == row.script
    if row.dropped:
        assert row.dropped in found.dropped


async def test_steel_table_of_the_page_has_a_test_for_each_row() -> None:
    rows = page_rows()
    assert [cells[0] for cells in rows] == [row.title for row in ROWS]
    for (_, cell), row in zip(rows, ROWS, strict=True):
        for name in re.findall(r"`\(([a-z][a-z0-9!?>-]*)", cell):
            assert f"({name}" in row.text, f"{name} is in no text of {row.title}"


async def test_steel_log_keeps_levels_and_plain_lines(lab: Lab) -> None:
    await lab.value(
        SCHEME, '(log "info" "a" 1) (log "debug" "b") (log "warn" "c") (log \'error "d") (log-warn "e") (log "f" 2)'
    )
    levels = [Level.INFO, Level.DEBUG, Level.WARNING, Level.ERROR, Level.WARNING, Level.INFO]
    assert [(entry.level, entry.message) for entry in lab.log] == list(
        zip(levels, ["a 1", "b", "c", "d", "e", "f 2"], strict=True)
    )


async def test_steel_message_is_sent_unchanged_under_mesh_name(lab: Lab) -> None:
    await lab.value(SCHEME, '(mqtt-publish "Alerts/room-1" (json-encode (hash \'a 1)))')
    assert lab.publisher.messages == [("test", "alerts.room_1", '{"a":1}')]


@pytest.mark.parametrize("topic", ["", "a//b", "/a", "a/", "a b", "a/*", "2/a", "é", "a/" * 9 + "a", "x" * 300])
async def test_steel_topic_that_the_mesh_cannot_carry_is_refused(lab: Lab, topic: str) -> None:
    error = await lab.failure(SCHEME, f'(mqtt-publish "{topic}" "x")')
    assert error.code.name == "INVALID_ARGUMENT", error
    assert lab.publisher.messages == []


async def test_steel_short_names_refer_to_first_sensor_of_kind(lab: Lab) -> None:
    second = Capability("temp1", "sensor.temperature", 1, (Property("celsius", _VOLTS, True, False, True),), (), ())
    two = Capability(
        "bat0",
        "sensor.battery",
        1,
        (Property("volts", _VOLTS, True, False, True), Property("level", _PERCENT, True, False, True)),
        (),
        (),
    )
    device = lab.mesh.add(FakeDevice("porch-1", TEMPERATURE, second, two))
    device.state |= {"temp1.celsius": 5.0, "bat0.volts": 3.7, "bat0.level": 87.0}
    assert await lab.value(SCHEME, "(json-encode (read-sensors))") == (
        '{"temperature":23.5,"battery":87.0,"temp0.celsius":23.5,"temp1.celsius":5.0,"bat0.volts":3.7,"bat0.level":87.0}'
    )


CHOICES: list[tuple[str, str, str]] = [
    ("nothing said", "", "steel"),
    ("an import of steel", "(import (yggdrasil steel))", "steel"),
    ("an import of R7RS", "(import (scheme base))", "r7rs"),
    ("some names of R7RS", "(import (only (scheme base) car))", "r7rs"),
    ("an import of an SRFI", "(import (srfi 1))", "r7rs"),
    ("both imports", "(import (scheme base) (yggdrasil steel))", "steel"),
    ("#lang r7rs", "#lang r7rs\n", "r7rs"),
    ("#lang steel against an import", "#lang steel\n(import (scheme base))", "steel"),
    ("an import of steel against #lang", "#lang r7rs\n(import (yggdrasil steel))", "steel"),
    ("the manifest", ";; Does things.\n;; @version 1.0.0\n;; @dialect r7rs\n", "r7rs"),
    ("the manifest, for steel", ";;; @dialect steel\n(import (scheme base))", "steel"),
    ("a comment that is no manifest", "1\n;; @dialect r7rs\n", "steel"),
]


@pytest.mark.parametrize(("head", "expected"), [c[1:] for c in CHOICES], ids=[c[0] for c in CHOICES])
async def test_dialect_is_declared_by_the_text(lab: Lab, head: str, expected: str) -> None:
    source = f"{head}\n(length (read-sensors))"
    assert await lab.value(SCHEME, source) == (4 if expected == "steel" else 2)
    assert dialect.of(source).value == expected


@pytest.mark.parametrize("head", ["#lang racket", ";; @dialect racket"])
async def test_dialect_that_there_is_not_is_a_syntax_error(lab: Lab, head: str) -> None:
    error = await lab.failure(SCHEME, f"{head}\n1")
    assert (error.reason, error.line) == ("SYNTAX", 1)
    assert "racket; there are steel and r7rs" in error.message


async def test_r7rs_lacks_steel_names_and_names_the_dialect(lab: Lab) -> None:
    error = await lab.failure(SCHEME, '#lang r7rs\n1\n(mqtt-publish "a" 1)')
    assert (error.reason, error.line) == ("SCRIPT_ERROR", 3)
    assert error.message == "mqtt-publish is not defined. The dialect steel has it: (import (yggdrasil steel))"


WRONG: list[tuple[str, str, int, str]] = [
    ("a name of the host", '(led-on)\n(mqtt-publsh "a" 1)', 2, "mqtt-publsh is not defined. Did you mean mqtt-publish?"),
    ("an own name", "(define (clear-alert) 1)\n\n(clear-alrt)", 3, "clear-alrt is not defined. Did you mean clear-alert?"),
    ("letters swapped", "(led-no)", 1, "led-no is not defined. Did you mean led-on?"),
    ("a name of R7RS", "(string-lenght \"a\")", 1, "string-lenght is not defined. Did you mean string-length?"),
    ("nothing like it", "(force-garbage-collection)", 1, "force-garbage-collection is not defined."),
    ("in a procedure", "(define (f)\n  (log \"info\" \"here\")\n  (assoc-set '() 'a 1))\n(f)", 3, "assoc-set is not defined. Did you mean assoc-set!?"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "line", "message"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
async def test_undefined_name_fails_when_reached_with_suggestion(
    lab: Lab, source: str, line: int, message: str
) -> None:
    error = await lab.failure(SCHEME, source)
    assert (error.reason, error.line, error.message) == ("SCRIPT_ERROR", line, message)


async def test_undefined_name_is_ignored_when_never_reached(lab: Lab) -> None:
    assert await lab.value(SCHEME, "(define (f) (no-such-thing))\n(if #f (f) 'well)") == "well"


@pytest.mark.parametrize(("name", "meant"), [("(read-sensor)", "read-sensors"), ('(set-timer! "a" 1)', "set-timer")])
async def test_undefined_name_suggests_a_contract_name(lab: Lab, name: str, meant: str) -> None:
    error = await lab.failure(SCHEME, f"1\n{name}")
    assert (error.reason, error.line) == ("NOT_IN_CONTRACT", 2)
    assert f"Did you mean {meant}?" in error.hint


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("(define uptime (uptime)) (>= uptime 0)", True),
        ("(define device-info (device-info)) (get device-info 'device_id)", "porch-1"),
        ('(define load (load "x" 5)) load', 5),
        ("(define (uptime) 'mine) (uptime)", "mine"),
        ("(define sleep (lambda (n) (if (zero? n) 'done (sleep (- n 1))))) (sleep 2)", "done"),
    ],
)
async def test_steel_variable_may_share_name_of_its_procedure(lab: Lab, source: str, value: Value) -> None:
    assert await lab.value(SCHEME, source) == value


async def test_steel_store_of_a_run_is_not_there_for_the_next(lab: Lab) -> None:
    assert await lab.value(SCHEME, '(store "a" 1) (load "a")') == 1
    assert await lab.value(SCHEME, '(load "a")') is False


CHECKED: list[tuple[str, str, list[tuple[int, str]]]] = [
    ("steel alone", '(mqtt-publish "a/b" (get (read-sensors) \'temperature))\n(shadow-update "a" 1)', []),
    ("a name that is nearly one", '(led-on)\n(mqtt-publsh "a" 1)', [(2, "mqtt-publsh is defined nowhere. Did you mean mqtt-publish?")]),
    ("an own name", "(define (clear-alert) 1)\n(clear-alrt)", [(2, "clear-alrt is defined nowhere. Did you mean clear-alert?")]),
    ("steel in R7RS", '#lang r7rs\n(mqtt-publish "a" 1)', [(2, "mqtt-publish is defined nowhere; the dialect steel has it: (import (yggdrasil steel))")]),
    ("nearly a name that reads", "(read-sensor)", [(1, "porch-1 has no property to read by the name read_sensor. Did you mean read-sensors?")]),
    ("a schedule", '(schedule "0 */5 * * *" led-on)', [(1, '"0 */5 * * *" means every five hours. Every five minutes is "*/5 * * * *".')]),
    ("a topic", '(mqtt-publish "alerts/*" 1)', [(1, "'*' is not a level of a topic. A level of a topic is 1 to 32 of a-z, 0-9 and _, and begins with a letter.")]),
    ("an arity", "(shadow-update 'a)", [(1, "shadow-update takes 2 arguments, not 1")]),
    ("seconds", '(set-timer "Room-1/x" -1 led-on)', [(1, "a timer takes 0 s to a year, not -1 s")]),
    ("an interval", "(schedule-interval 0.01 led-on)", [(1, "a timer takes 0.05 s to a year, not 0.01 s")]),
    ("an invalid handler", '(set-timer "a" 1 \'led-on)', [(1, "the handler of set-timer is a procedure, such as (lambda () ...)")]),
    ("a handler of three", '(register-event-handler "mqtt-message" (lambda (a b c) 1))', [(1, "the handler of register-event-handler is called with at most 2 arguments, not 3")]),
    ("a timer's of two", "(schedule-interval 5 (lambda (a b) 1))", [(1, "the handler of schedule-interval is called with one argument or none, not 2")]),
    ("an event that no contract has", '(register-event-handler "temp0.boom" led-on)', [(1, "temp0 has no event boom; it has none")]),
    ("events that there are", '(register-event-handler "online" led-on) (register-event-handler "my-event" led-on) (emit-event "my-event")', []),
    ("quoted values", '(define temp 1)\n(mqtt-publish "a" (json-encode \'((temperature . temp))))', [(2, "'((temperature . temp)) is quoted, so it sends the symbol temp and not its value. Write `((temperature . ,temp))")]),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), [c[1:] for c in CHECKED], ids=[c[0] for c in CHECKED])
async def test_check_knows_the_dialect(lab: Lab, source: str, expected: list[tuple[int, str]]) -> None:
    found = lint(source, SCHEME, {"porch-1": lab.porch.contract.capabilities})
    assert [(finding.line, finding.message) for finding in found] == expected


@pytest.mark.parametrize("row", ROWS, ids=[row.title for row in ROWS])
async def test_check_accepts_names_on_the_page(row: Row) -> None:
    assert [f.message for f in lint(f"{BEFORE}\n{row.text}", SCHEME, {}) if f.rule != "CRON"] == []


@pytest.mark.parametrize(
    ("subject", "tests", "passes"),
    [
        ('(mqtt-publish "a" 1)', '(test "steel" (expect-true (subject)))', True),
        ("#lang r7rs\n(length (read-sensors))", '(test "r7rs" (expect-equal (subject) 3))', True),
        ("(length (read-sensors))", '#lang r7rs\n(test "the tests say it" (expect-equal (subject) 3))', True),
        ("", '(test "steel" (expect-equal (led-on) #t))', True),
        ("", '#lang r7rs\n(test "r7rs" (mqtt-publish "a" 1))', False),
    ],
)
async def test_tests_run_in_dialect_of_their_script(lab: Lab, subject: str, tests: str, passes: bool) -> None:
    tester = ScriptTester({**lab.pools}, lab.mesh, LoopClock())
    report = await tester.test(tests, SCHEME, subject=subject, device_id="", name="t", limits=DEFAULT_LIMITS)
    assert [result.passed for result in report.results] == [passes], report.results
