"""The error catalogue, the error classes and the generated files agree."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import services
import ygg
from services.chassis.errors import RemoteError
from services.domain.errors import YggError
from services.domain.reasons import Code, Reason
from services.loki.errors import ScriptError
from tools import error_catalogue as catalogue
from ygg.exit_codes import BY_CODE, BY_REASON, MEANINGS, Exit
from ygg.scripts import ScriptFailedError

ROOT = Path(__file__).resolve().parents[2]
GENERATED = {"services/domain/reasons.py", "ygg/exit_codes.py"}
SUFFIXES = {".py", ".lua", ".scm"}
PASSED_ON = {RemoteError, ScriptError, ScriptFailedError}
"""Classes with a reason for each instance: that of a peer or of a script."""
DATA_ELSEWHERE = {
    "current": "loki/scripts/service.py sets it after construction",
    "path": "domain/twin.py passes on the error of an argument with its path",
    "requirement": "chassis/requirements_codec.py passes on the error of a requirement with its position",
    "err_code": "chassis/kv_writer.py and publisher.py, of NATS",
    "fate": "ygg/client.py",
    "line": "ygg/scripts.py",
}


def subclasses(kind: type[YggError]) -> Iterator[type[YggError]]:
    for one in kind.__subclasses__():
        yield one
        yield from subclasses(one)


@pytest.fixture(scope="module")
def classes() -> list[type[YggError]]:
    for package in (services, ygg):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__") and ".engines." not in module.name:
                importlib.import_module(module.name)
    return [one for one in subclasses(YggError) if one.__module__.split(".")[0] in ("services", "ygg")]


def sources() -> Iterator[tuple[str, str]]:
    for folder in ("services", "ygg"):
        for path in sorted((ROOT / folder).rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            if path.suffix in SUFFIXES and name not in GENERATED:
                yield name, path.read_text()


def test_generated_files_are_current() -> None:
    for path, text in catalogue.outputs().items():
        assert path.read_text() == text, f"{path.relative_to(ROOT)}: make gen"


def test_every_class_names_a_reason(classes: list[type[YggError]]) -> None:
    for one in classes:
        known = Reason.__members__[one.reason]
        assert (one.code, one.retry_after_s) == (known.code, known.retry_after_s), one
        assert one in PASSED_ON or "reason" in vars(one), f"{one.__name__}: class …(YggError, reason=Reason.…)"


def test_every_reason_is_used() -> None:
    used = {word for _, text in sources() for word in re.findall(r"[A-Z][A-Z_]+", text)}
    assert set(Reason.__members__) - used == set()


def test_data_keys_are_those_in_the_code(classes: list[type[YggError]]) -> None:
    reasons: dict[str, set[str]] = defaultdict(set)
    for one in set(classes) - PASSED_ON:
        reasons[one.__name__].add(one.reason)
    found: dict[str, set[str]] = defaultdict(set)
    for name, text in sources():
        if name.endswith(".py"):
            for kind, keys in _data_keys(ast.parse(text)):
                for reason in reasons[kind]:
                    found[reason] |= keys
    listed = catalogue.load(catalogue.CATALOGUE.read_text())["reason"]
    for reason, entry in listed.items():
        assert found[reason] - set(entry.get("data", ())) == set(), reason
        assert set(entry.get("data", ())) - found[reason] - set(DATA_ELSEWHERE) == set(), reason


def _data_keys(tree: ast.AST) -> Iterator[tuple[str, set[str]]]:
    """Each class with the data keys of its constructor or, if it has none, of the places that raise it."""
    own = {
        node.name: node
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(getattr(part, "name", "") == "__init__" for part in node.body)
    }
    for kind, node in own.items():
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "__init__":
                yield kind, _keys(call)
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id not in own:
            yield call.func.id, _keys(call)


def _keys(call: ast.Call) -> set[str]:
    return {keyword.arg for keyword in call.keywords if keyword.arg} - {"hint", "field", "clauses"}


def test_every_code_has_an_exit_code() -> None:
    assert set(BY_CODE) == {code.name for code in Code}
    assert set(MEANINGS) == set(Exit)
    assert set(BY_REASON) <= set(Reason.__members__)


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ('code = "NONE"\nsummary = "s"\naction = "a"', "there is no code NONE"),
        ('code = "INTERNAL"\nsummary = "s"', "missing"),
        ('code = "INTERNAL"\nsummary = "s"\naction = "a"\nretry = 1', "unknown"),
        ('code = "INTERNAL"\nsummary = "s"\naction = "a"\nexit = "NONE"', "there is no exit NONE"),
        ('code = "INTERNAL"\nsummary = "s"\naction = "a"\nexit = "FAILED"', "that of its code"),
        ('code = "INTERNAL"\nsummary = "s"\naction = "a"\ndata = ["b", "a"]', "not sorted"),
        ('code = "INTERNAL"\nsummary = "s"\naction = "a"\nretry_after_s = 0', "more than 0"),
    ],
)
def test_invalid_entry_is_rejected(entry: str, fault: str) -> None:
    exits = "[exit]\nFAILED = { number = 1, meaning = 'm' }\n[code]\nINTERNAL = 'FAILED'\n"
    with pytest.raises(ValueError, match=fault):
        catalogue.load(f"{exits}[reason.X]\n{entry}\n")
