"""A worker's report of a failure is bounded and checked: a compromised worker must not choose our texts."""

from __future__ import annotations

import pytest

from services.domain.errors import Code
from services.loki.adapters.failure import script_error


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("SYNTAX", Code.INVALID_ARGUMENT),
        ("SCRIPT_ERROR", Code.FAILED_PRECONDITION),
        ("MEMORY", Code.RESOURCE_EXHAUSTED),
        ("OUTPUT", Code.RESOURCE_EXHAUSTED),
    ],
)
def test_the_reasons_of_the_engine_have_their_own_status(reason: str, code: Code) -> None:
    error = script_error({"reason": reason, "message": "m", "line": 3, "status": "OK"})
    assert (error.reason, error.code, error.line) == (reason, code, 3)


def test_an_operations_error_keeps_its_status() -> None:
    error = script_error({"reason": "DEVICE_OFFLINE", "status": "UNAVAILABLE", "message": "gone", "hint": "wait"})
    assert (error.reason, error.code, error.message, error.hint) == ("DEVICE_OFFLINE", Code.UNAVAILABLE, "gone", "wait")


@pytest.mark.parametrize(
    "content", [None, [], "x", {}, {"reason": "NONSENSE"}, {"reason": "X", "status": "OK"}, {"reason": 5}]
)
def test_nonsense_is_a_crash(content: object) -> None:
    assert (script_error(content).reason, script_error(content).code) == ("CRASH", Code.INTERNAL)


def test_texts_are_cut() -> None:
    error = script_error(
        {"reason": "SCRIPT_ERROR", "message": "x" * 10_000, "traceback": "y" * 10_000, "hint": "z" * 10_000}
    )
    assert len(error.message) == len(error.hint) == 600
    assert len(error.traceback) == 1200


@pytest.mark.parametrize("line", [-1, 10**12, "3", None, 2.5])
def test_a_line_that_cannot_be_is_unknown(line: object) -> None:
    assert script_error({"reason": "SCRIPT_ERROR", "line": line}).line == 0
