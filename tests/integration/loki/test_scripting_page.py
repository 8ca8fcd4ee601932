"""docs/SCRIPTING.md: every snippet runs and returns what it says, and every name in the table exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from services.loki.model import Language
from tests.integration.loki.conftest import Lab

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAGE = (Path(__file__).resolve().parents[3] / "docs" / "SCRIPTING.md").read_text()
SNIPPETS = re.findall(r"^```(lua|scheme)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
RESULT = {"lua": re.compile(r"--> (.*)$", re.MULTILINE), "scheme": re.compile(r";=> (.*)$", re.MULTILINE)}


async def test_the_page_has_snippets_in_both_languages() -> None:
    assert {language for language, _ in SNIPPETS} == {"lua", "scheme"}
    assert len(SNIPPETS) >= 13


@pytest.mark.parametrize(("language", "source"), SNIPPETS, ids=[f"{n}-{s[0]}" for n, s in enumerate(SNIPPETS)])
async def test_a_snippet_returns_what_it_says(lab: Lab, language: str, source: str) -> None:
    said = RESULT[language].findall(source)
    assert len(said) == 1, "a snippet says what it returns, once"
    assert await lab.value(Language(language), source) == json.loads(said[0])


def names(column: int) -> list[str]:
    """The names in a column of the table of operations."""
    table = PAGE[PAGE.index("| what | Lua | Scheme |") :].split("\n\n")[0].splitlines()[2:]
    cells = [code for row in table for code in re.findall(r"`([^`]+)`", row.split("|")[column])]
    grammar = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*" if column == 2 else r"\(?[a-z][a-z0-9!?>-]*")
    return [match[0].lstrip("(") for cell in cells if (match := grammar.match(cell))]


@pytest.mark.parametrize("name", sorted(set(names(2)) - {"e.status", "e.reason", "e.hint", "args.k"}))
async def test_a_name_of_the_lua_column_exists(lab: Lab, name: str) -> None:
    assert await lab.value(Language.LUA, f"return {name} ~= nil") is True


@pytest.mark.parametrize("name", sorted(set(names(3)) - {"null", "with-device"}))
async def test_a_name_of_the_scheme_column_exists(lab: Lab, name: str) -> None:
    assert await lab.value(Language.SCHEME, f"(procedure? {name})") is True
