"""Tests of scripts: a text that calls `test`, run like any script, on a fake board or on a device.

The harness (harness.lua, harness.scm) reports by messages, which this module collects instead of publishing them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.domain.errors import InvalidRequestError
from services.domain.values import Value
from services.loki import model
from services.loki.errors import ScriptError
from services.loki.host import RunHost
from services.loki.lint import dialect
from services.loki.model import Language, Limits, LogEntry
from services.loki.ports import Clock, Engine, Mesh
from services.loki.scripts.board import BOARD_ID, FakeBoard
from services.loki.scripts.virtual import VirtualHost
from services.loki.service import Loki

_HERE = Path(__file__).parent
_BLANKS = re.compile(r"\n\s*")
_COMMENT = re.compile(r"^\s*(--|;).*\n", re.MULTILINE)
_PLACE = re.compile(r"^[^\s:]+:(\d+): ")
MAX_RESULTS = 500


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test; `line` is 0 if unknown."""

    __test__ = False

    name: str
    passed: bool
    message: str = ""
    line: int = 0


@dataclass(slots=True)
class Report:
    """How the tests of one text went; `duration_s` in seconds."""

    results: list[TestResult] = field(default_factory=list)
    logs: list[LogEntry] = field(default_factory=list)
    duration_s: float = 0.0


class _Results:
    """Implements the port Publisher: collects the reports of the harness and drops the messages of the script."""

    def __init__(self, report: Report, board: FakeBoard | None) -> None:
        self._report, self._board = report, board

    async def publish(self, program: str, topic: Sequence[str], value: Value, spelled: str = "") -> None:
        """Keep a result, or set the board."""
        if topic == ["ygg_test"] and isinstance(value, dict) and len(self._report.results) < MAX_RESULTS:
            message = str(value.get("message", ""))
            place = _PLACE.match(message)
            line = int(place[1]) if place else 0
            text = message[place.end() :] if place else message
            self._report.results.append(TestResult(str(value.get("name", "")), value.get("passed") is True, text, line))
        elif topic == ["ygg_board"] and isinstance(value, dict):
            if self._board is None:
                raise InvalidRequestError("only the fake board can be set; a device measures its values")
            self._board.set(str(value.get("path", "")), value.get("value"))


class ScriptTester:
    """Runs the tests of scripts."""

    def __init__(self, engines: dict[Language, Engine], mesh: Mesh, clock: Clock) -> None:
        self._engines, self._mesh, self._clock = engines, mesh, clock

    async def test(
        self, source: str, language: Language, *, subject: str, device_id: str, name: str, limits: Limits
    ) -> Report:
        """Return the report; raise InvalidScriptError if it cannot run, EngineBusyError or EngineMissingError."""
        report, board = Report(), None if device_id else FakeBoard()
        arguments: dict[str, Value] = {"subject": subject} if subject and language is Language.LUA else {}
        script = model.script(
            with_harness(language, subject, source),
            language,
            name=name or "tests",
            device_id=device_id or BOARD_ID,
            arguments=arguments,
            limits=limits,
        )
        host = VirtualHost if board else RunHost
        loki = Loki(self._engines, board or self._mesh, _Results(report, board), self._clock, host)
        start = self._clock.monotonic()
        try:
            await loki.execute(script, report.logs.append)
        except ScriptError as e:
            report.results.append(TestResult("(outside of a test)", False, e.message, e.line))
        report.duration_s = self._clock.monotonic() - start
        return report


def with_harness(language: Language, subject: str, source: str) -> str:
    """The tests, with what stands before them on their first line. In Scheme all of it is of one dialect: the tests'
    own if they name one, else that of the script under test."""
    if language is Language.LUA:
        return _line("harness.lua") + source
    spoken = dialect.stated(source) or dialect.of(subject if subject.strip() else source)
    under_test = (
        f"(define (subject) (under-test (lambda ()\n{dialect.without_lang(subject)}\n)))\n" if subject.strip() else ""
    )
    return f"#lang {spoken.value} {_line('harness.scm')}{under_test}{dialect.without_lang(source)}"


def _line(name: str) -> str:
    return _BLANKS.sub(" ", _COMMENT.sub("", (_HERE / name).read_text()))
