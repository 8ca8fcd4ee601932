"""The programs' side of a twin: changes by a report, and pending ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.registry.model import ProgramsSide, ProgramState, TwinProgram, merge_programs
from services.registry.programs_codec import programs_from_bytes, programs_to_bytes

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
BLINK = TwinProgram("blink", "blink", "1.0.0", True, NOW, ProgramState.RUNNING, "1.0.0")
LOKI = "ygg://main/service/loki"


def test_unchanged_report_writes_nothing() -> None:
    side = merge_programs(ProgramsSide(), [BLINK], 5, NOW, LOKI)
    assert (side.revision, side.programs[0].report_time) == (1, NOW)
    assert merge_programs(side, [BLINK], 6, LATER, LOKI) is side


def test_a_report_of_an_older_state_changes_nothing() -> None:
    side = merge_programs(ProgramsSide(), [BLINK], 5, NOW, LOKI)
    assert merge_programs(side, [], 4, LATER, LOKI) is side
    assert merge_programs(side, [], 5, LATER, LOKI).programs == ()


def test_the_time_of_a_state_is_when_it_began() -> None:
    side = merge_programs(ProgramsSide(), [BLINK], 5, NOW, LOKI)
    newer = merge_programs(side, [replace(BLINK, desired_version="1.1.0")], 6, LATER, LOKI)
    assert newer.programs[0].report_time == NOW
    held = merge_programs(newer, [replace(BLINK, state=ProgramState.SUSPENDED)], 7, LATER, LOKI)
    assert (held.revision, held.programs[0].report_time) == (3, LATER)
    said = merge_programs(newer, [replace(newer.programs[0], reported={"n": 1})], 7, LATER, LOKI)
    assert (said.revision, said.programs[0].report_time) == (3, LATER)


@pytest.mark.parametrize(
    ("running", "state", "version", "pending"),
    [
        (True, ProgramState.RUNNING, "1.0.0", False),
        (True, ProgramState.RUNNING, "0.9.0", True),
        (True, ProgramState.REFUSED, "", True),
        (True, ProgramState.SUSPENDED, "1.0.0", True),
        (False, ProgramState.RUNNING, "1.0.0", True),
        (False, ProgramState.STOPPED, "", False),
    ],
)
def test_program_is_pending_when_it_differs_from_desired(
    running: bool, state: ProgramState, version: str, pending: bool
) -> None:
    assert replace(BLINK, desired_running=running, state=state, reported_version=version).pending is pending


def test_a_record_is_read_as_it_was_written() -> None:
    side = merge_programs(
        ProgramsSide(),
        [replace(BLINK, problem="why", reported={"n": 1, "s": "x"}), replace(BLINK, deployment_id="a")],
        5,
        NOW,
        LOKI,
    )
    assert programs_from_bytes(programs_to_bytes("porch-1", side)) == side
