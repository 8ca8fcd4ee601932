"""Rules of this suite: a test waits for what happened, asserts no time, and is not run a second time."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
CLOCKS = {"monotonic", "perf_counter", "time"}

SLEEPERS = {
    "fixtures/wait.py": "`until`, `eventually` and `pace`, which every other test uses",
    "fuzz/world.py": "virtual time: the loop's clock jumps",
    "unit/bridge/test_bridge_claims.py": "virtual time: the loop's clock jumps",
}
"""Who may call a sleep, and why."""


def calls(tree: ast.AST) -> Iterator[tuple[str, str, ast.Call]]:
    """Each call as (object, name, node): `asyncio.sleep(1)` is ("asyncio", "sleep", …)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            yield (owner.id if isinstance(owner, ast.Name) else "", node.func.attr, node)


def sleeps(tree: ast.AST) -> list[int]:
    """The lines that sleep; `asyncio.sleep(0)` only gives way, and a sleep that never ends waits for a cancellation."""
    return [
        node.lineno
        for owner, name, node in calls(tree)
        if name == "sleep" and owner in ("asyncio", "time") and not _gives_way(node)
    ]


def _gives_way(node: ast.Call) -> bool:
    argument = node.args[0] if node.args else None
    return isinstance(argument, ast.Constant) and argument.value in (0, 3600)


def timed_asserts(tree: ast.AST) -> list[int]:
    """The lines of assertions that read a clock."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert) and any(name in CLOCKS and not call.args for _, name, call in calls(node.test))
    ]


def test_no_module_sleeps_or_asserts_a_time() -> None:
    wrong: list[str] = []
    for path in sorted(TESTS.rglob("*.py")):
        name, tree = str(path.relative_to(TESTS)), ast.parse(path.read_text())
        if name not in SLEEPERS:
            wrong += [f"{name}:{line}: wait with `eventually`, or give a rhythm with `pace`" for line in sleeps(tree)]
        wrong += [f"{name}:{line}: assert what happened; a time belongs in bench/" for line in timed_asserts(tree)]
    assert not wrong, "\n".join(wrong)


def test_rules_find_a_sleep_and_a_timed_assert() -> None:
    bad = ast.parse(
        "import asyncio, time\nasync def f():\n await asyncio.sleep(0.1)\n assert time.monotonic() - x < 1\n"
    )
    assert (sleeps(bad), timed_asserts(bad)) == ([3], [4])
    good = ast.parse("async def f():\n await asyncio.sleep(0)\n await pace(0.1)\n")
    assert (sleeps(good), timed_asserts(good)) == ([], [])


def test_no_target_reruns_failed_tests() -> None:
    recipes = [ROOT / "Makefile", *(ROOT / "deploy").glob("*.sh"), ROOT / ".ci" / "run", ROOT / "pyproject.toml"]
    for recipe in recipes:
        text = recipe.read_text()
        assert not [word for word in ("--last-failed", "--lf", "reruns", "flaky") if word in text], recipe
