"""docs/reference/scripting.md: every snippet returns its documented value, and every name in the table exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from services.loki.fields import FieldType
from services.loki.lint.check import lint
from services.loki.model import DEFAULT_LIMITS, Language
from services.loki.scripts.model import Field, RegisteredScript, registered
from services.loki.scripts.service import raise_unmet
from services.loki.scripts.testing import ScriptTester
from tests.fakes.scripting import LoopClock
from tests.integration.loki.conftest import Lab
from ygg.script_files import header

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "scripting.md").read_text()
SNIPPETS = re.findall(r"^```(lua|scheme)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
RESULT = {"lua": re.compile(r"--> (.*)$", re.MULTILINE), "scheme": re.compile(r";=> (.*)$", re.MULTILINE)}


def fenced(kind: str) -> list[tuple[str, str]]:
    """Language and text of the snippets of a kind, such as `lua test`."""
    return re.findall(rf"^```(lua|scheme) {kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


FOUND = re.compile(r"^(?:--|;;) (\d+):(\d+)  (.*)$", re.MULTILINE)


@pytest.mark.parametrize(("language", "source"), fenced("check"), ids=lambda v: v[:8])
async def test_a_snippet_has_the_findings_that_it_lists(lab: Lab, language: str, source: str) -> None:
    script = FOUND.sub("", source)
    found = sorted(lint(script, Language(language), {"porch-1": lab.porch.contract.capabilities}), key=lambda f: f.line)
    assert [(str(f.line), str(f.column), f.message) for f in found] == FOUND.findall(source)


@pytest.mark.parametrize(("language", "source"), fenced("test"), ids=lambda v: v[:8])
async def test_the_tests_of_a_snippet_pass(lab: Lab, language: str, source: str) -> None:
    tester = ScriptTester({**lab.pools}, lab.mesh, LoopClock())
    about = {"subject": "", "device_id": "", "name": "page", "limits": DEFAULT_LIMITS}
    report = await tester.test(source, Language(language), **about)  # type: ignore[arg-type]
    assert [result.message for result in report.results] == ["", ""]


@pytest.mark.parametrize(("language", "source"), fenced("register"), ids=lambda v: v[:8])
async def test_registered_snippet_declares_its_interface(lab: Lab, language: str, source: str) -> None:
    declared = header(source)
    parameters = tuple(Field(p.name, FieldType(p.type), p.description, p.optional) for p in declared.parameters)
    results = tuple(Field(r.name, FieldType(r.type)) for r in declared.results)
    script = registered(
        RegisteredScript(
            "blink", Language(language), source, declared.description, parameters, results, tuple(declared.requires)
        )
    )
    raise_unmet(script, "porch-1", lab.porch.contract.capabilities)
    value = await lab.value(Language(language), source, arguments=script.arguments({"times": 3}))
    assert script.result(value) == {"count": 3}


async def test_the_page_has_snippets_in_both_languages() -> None:
    assert {language for language, _ in SNIPPETS} == {"lua", "scheme"}
    assert len(SNIPPETS) >= 13


@pytest.mark.parametrize(("language", "source"), SNIPPETS, ids=[f"{n}-{s[0]}" for n, s in enumerate(SNIPPETS)])
async def test_snippet_returns_its_documented_result(lab: Lab, language: str, source: str) -> None:
    said = RESULT[language].findall(source)
    assert len(said) == 1, "a snippet states its result exactly once"
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


@pytest.mark.parametrize("name", sorted(set(names(3)) - {"null", "with-device", "import"}))
async def test_a_name_of_the_scheme_column_exists(lab: Lab, name: str) -> None:
    assert await lab.value(Language.SCHEME, f"(procedure? {name})") is True
