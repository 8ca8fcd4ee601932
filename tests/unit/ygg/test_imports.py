"""Allowed imports by command of `ygg`: a command loads only its dependencies. `make bench-startup` has the figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.commands import Sample, samples

ROOT = Path(__file__).parents[3]
WATCHED = {
    *(
        "aioboto3",
        "aiobotocore",
        "aiohttp",
        "asyncio",
        "asyncpg",
        "botocore",
        "cryptography",
        "detools",
        "google",
        "grpc",
    ),
    *("grpc_status", "lupa", "nats", "opentelemetry", "pydantic_settings", "rich", "uvloop", "yggdrasil"),
}
LOCAL = {"rich"}
MESH = LOCAL | {"asyncio", "google", "grpc", "yggdrasil"}  # grpc itself imports asyncio
KEYS = LOCAL | {"cryptography"}
MESSAGES = LOCAL | {"google", "yggdrasil"}
# By the longest prefix of a command; others call the mesh.
MAY_IMPORT = {
    "up": MESH | KEYS,
    "down": LOCAL,
    "device retire": LOCAL,  # asks first
    "script new": LOCAL,
    "context": LOCAL,
    "context show": KEYS,
    "creds": LOCAL,
    "grpcurl": LOCAL,
    "doctor": KEYS,
    "demo": MESH | KEYS,
    "pki": KEYS,
    "ota keygen": KEYS | MESSAGES,
    "ota sign": KEYS | MESSAGES,
    "ota manifest": KEYS | MESSAGES,
    "ota inspect": KEYS | MESSAGES,
    "ota release": KEYS | MESH,
    "ota timestamp-key": KEYS | MESH,
    "ota root": KEYS | MESSAGES,
    "ota root set": KEYS | MESH,
}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What each command imported, and the command with no words and with `--version`."""
    home = tmp_path_factory.mktemp("home")
    given = [Sample((), ["--version"]), *samples()]
    environ = {**os.environ, "YGG_HOME": str(home), "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    environ.pop("YGG_CONTEXT", None)
    script = str(ROOT / "tests" / "fixtures" / "imported_by.py")
    cases = json.dumps([[*one.words, *one.arguments] for one in given])
    done = subprocess.run(
        [sys.executable, script, cases], env=environ, cwd=home, check=True, capture_output=True, text=True
    )
    return {str(one): set(found) for one, found in zip(given, json.loads(done.stdout), strict=True)}


def allowed(words: str) -> set[str]:
    matching = [name for name in MAY_IMPORT if f"{words} ".startswith(f"{name} ")]
    return MAY_IMPORT[max(matching, key=len)] if matching else MESH


def test_a_command_imports_no_more_than_it_may(imported: dict[str, set[str]]) -> None:
    more = {words: sorted((found & WATCHED) - allowed(words)) for words, found in imported.items() if words}
    assert {words: names for words, names in more.items() if names} == {}


def test_the_version_is_shown_without_anything(imported: dict[str, set[str]]) -> None:
    assert imported[""] & WATCHED == set()


def test_every_entry_of_the_table_is_a_command(imported: dict[str, set[str]]) -> None:
    assert [name for name in MAY_IMPORT if not any(f"{words} ".startswith(f"{name} ") for words in imported)] == []
