"""The hostile scripts of `hostile.py`: each is answered within its deadline, and the next script still works."""

from __future__ import annotations

import asyncio

import pytest

from services.domain.errors import Code, YggError
from services.loki.adapters import worker
from services.loki.model import MIB, Language, Limits
from tests.integration.loki.conftest import Lab
from tests.integration.loki.hostile import EITHER, HOSTILE, KEPT, PAGE, Hostile, row
from tests.integration.loki.hostile_programs import programs_page

pytestmark = pytest.mark.asyncio(loop_scope="module")
LIMITS = Limits(timeout_s=0.4, memory_bytes=4 * MIB)
BOUND_S = 60.0
"""Bounds the test and decides no result: the answered reason shows which limit ended the script."""
"""The timeout, the grace period of the engine, and a margin for a machine with two busy cores."""
CODES = {
    "SYNTAX": Code.INVALID_ARGUMENT,
    "SCRIPT_ERROR": Code.FAILED_PRECONDITION,
    "TIMEOUT": Code.DEADLINE_EXCEEDED,
    "MEMORY": Code.RESOURCE_EXHAUSTED,
    "OUTPUT": Code.RESOURCE_EXHAUSTED,
    "CRASH": Code.INTERNAL,
    "INVALID_SCRIPT": Code.INVALID_ARGUMENT,
    "INVALID_ID": Code.INVALID_ARGUMENT,
    "INVALID_REQUEST": Code.INVALID_ARGUMENT,
    "NOT_IN_CONTRACT": Code.FAILED_PRECONDITION,
    "NOT_DECLARED": Code.FAILED_PRECONDITION,
}


@pytest.mark.parametrize("hostile", HOSTILE, ids=[f"{h.language.value}-{h.name}" for h in HOSTILE])
async def test_a_hostile_script_harms_itself_alone(lab: Lab, hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    if hostile.worker == KEPT:  # the engine ends it, however busy the machine is
        monkeypatch.setattr(worker, "GRACE_S", BOUND_S)
    language = hostile.language
    await lab.all_up(language)
    before = lab.pids(language)
    try:
        answer = "fine"
        async with asyncio.timeout(BOUND_S):
            assert await lab.value(language, hostile.source, limits=LIMITS) is True
    except YggError as e:
        answer = e.reason
        assert e.code is CODES[answer], e
    assert answer in hostile.answer.split("|")
    assert await lab.value(language, "return 42" if language is Language.LUA else "42") == 42
    if hostile.worker == KEPT:
        assert lab.pids(language) == before
    elif hostile.worker != EITHER:
        await lab.all_up(language)
        assert lab.pids(language) != before


async def test_there_are_forty_a_language_and_the_page_shows_them() -> None:
    for language in Language:
        assert len({row(hostile) for hostile in HOSTILE if hostile.language is language}) >= 40
    assert PAGE.read_text() == programs_page(), "python -m tests.integration.loki.hostile_programs"
