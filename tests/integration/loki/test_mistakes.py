"""The mistakes of `mistakes.MISTAKES`, in scripts that are run and in programs that live."""

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
async def test_a_mistake_is_named_with_its_line_and_what_to_do(lab: Lab, mistake: Mistake) -> None:
    error = await lab.failure(mistake.language, mistake.source)
    told = f"{error.message} | {error.hint}"
    assert all(part in told for part in mistake.says), told
    assert error.line == mistake.line
    assert not ADDRESS.search(f"{told} {error.traceback}")


@pytest.mark.parametrize("language", list(Language), ids=lambda language: language.value)
async def test_a_program_that_lives_names_the_same_mistakes(lab: Lab, language: Language) -> None:
    async def start(_: Language) -> LiveWorker:
        return await LiveWorker.start(await lab.commands[language]())

    wrong: list[tuple[str, str]] = []
    async with Repl(start, lab.mesh, lab.publisher, LoopClock()).conversation(language, "porch-1") as conversation:
        for mistake in (mistake for mistake in MISTAKES if mistake.language is language):
            with pytest.raises(ScriptError) as caught:
                await conversation.evaluate(mistake.source, lambda _: None)
            told = f"{caught.value.message} | {caught.value.hint}"
            parts = [part for part in mistake.says if not part.startswith("the script returned")]
            if not all(part in told for part in parts) or ADDRESS.search(told):
                wrong.append((mistake.name, told))
    assert not wrong


@pytest.mark.parametrize("language", list(Language), ids=lambda language: language.value)
async def test_each_language_has_forty_mistakes(language: Language) -> None:
    rows = [mistake.name for mistake in MISTAKES if mistake.language is language]
    assert len(rows) >= 40
    assert len(set(rows)) == len(rows)
