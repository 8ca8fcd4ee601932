"""`ygg program`, as it is typed, against the real loki."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fixtures.mesh import Processes
from tests.fixtures.pki import Pki
from tests.fixtures.process import starter
from tests.fixtures.wait import until
from tests.integration.loki.programs import start_loki
from ygg.cli.run import run

SOURCE = """-- Count.
-- @version {version}
-- @param step int=1 By how much.
n = 0
every("tick", 0.1, function() n = n + args.step end)
log("counting by", args.step)
"""


@dataclass
class Done:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


class Command:
    """`ygg program …` in this process: the tests are of what it does, not of how fast Python starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(self.folder):
            code = run(words)
        return Done(code, out.getvalue(), err.getvalue())

    def json(self, *words: str) -> object:
        done = self("program", *words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def loki(shared_processes: Processes, pki: Pki, scheme_cache: Path) -> Iterator[str]:
    with starter(pki) as start:
        yield start_loki(start, shared_processes, scheme_cache).listen


@pytest.fixture
def ygg(loki: str, shared_processes: Processes, pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("YGG_HOME", str(tmp_path / "home"))
    command = Command(tmp_path)
    endpoints = ["--registry", shared_processes.endpoint("registry"), "--loki", loki]
    endpoints += ["--bridge", shared_processes.endpoint("jotunheim_bridge")]
    done = command("context", "set", "test", "--identity", str(pki.directory("user", "operator")), *endpoints)
    assert done.returncode == 0, done.stderr
    assert command("context", "use", "test").returncode == 0
    return command


def test_the_life_of_a_program_from_the_command_line(ygg: Command) -> None:
    (ygg.folder / "count.lua").write_text(SOURCE.format(version="1.0.0"))
    done = ygg("program", "load", "count.lua")
    assert done.returncode == 0, done.stderr
    assert "count 1.0.0 loaded" in done.stdout
    done = ygg("program", "deploy", "count", "--mesh", "-a", "step=2")
    assert done.returncode == 0, done.stderr

    def counted() -> dict[str, int] | None:
        found = ygg.json("globals", "count")
        return found if isinstance(found, dict) and found["n"] >= 2 else None

    n = until(counted)
    assert n["n"] % 2 == 0
    assert ygg("program", "globals", "count", "n=1000").returncode == 0
    assert int(ygg("program", "eval", "count", "n").stdout) >= 1000
    assert "counting by 2" in ygg("program", "logs", "count").stdout
    stats = ygg.json("stats", "count")
    assert isinstance(stats, dict)
    assert int(stats["turns"]) > 2
    assert "timer tick" in ygg("program", "history", "count").stdout
    assert "count" in ygg("program", "ls").stdout
    assert "running" in ygg("program", "show", "count").stdout
    (ygg.folder / "count.lua").write_text(SOURCE.format(version="1.1.0"))
    assert ygg("program", "load", "count.lua").returncode == 0
    done = ygg("program", "rollout", "count", "1.1.0", "--share", "100")
    assert "1.1.0 is tried on 100 %" in done.stdout, done.stderr
    assert ygg("program", "rollout", "count", "--promote").returncode == 0
    shown = ygg.json("show", "count")
    assert isinstance(shown, dict)
    assert shown["program"]["deployments"][0]["version"] == "1.1.0"
    for verb in ("restart", "stop", "start"):
        assert ygg("program", verb, "count").returncode == 0
    assert ygg("program", "unload", "--program", "count").returncode != 0
    assert ygg("program", "unload", "--program", "count", "--force").returncode == 0
    assert ygg.json("ls") == []


def test_what_is_wrong_with_a_file_is_told_with_its_line(ygg: Command) -> None:
    (ygg.folder / "bad.lua").write_text("-- Bad.\n-- @memory lots\nx = 1\n")
    done = ygg("program", "load", "bad.lua")
    assert done.returncode == 2
    assert "line 2: @memory lots" in done.stderr
    (ygg.folder / "worse.scm").write_text("(define x")
    done = ygg("program", "load", "worse.scm")
    assert done.returncode == 1
    assert "never closed" in done.stderr
    assert ygg("program", "deploy", "nobody", "--mesh").returncode == 4
    assert ygg("program", "deploy", "nobody").returncode == 2


def test_a_program_is_shown_with_the_packages_it_is_linked_with(ygg: Command) -> None:
    (ygg.folder / "units.lua").write_text("-- @version 1.1.0\nreturn {zero = 32}\n")
    (ygg.folder / "shows.lua").write_text("-- @depends units 1.0.0\nzero = require('units').zero\n")
    done = ygg("program", "deploy", "shows.lua", "--mesh")
    assert done.returncode != 0
    assert "it depends on units 1.0.0" in done.stderr
    assert "ygg program load units" in done.stderr
    assert ygg("program", "load", "units.lua").returncode == 0
    done = ygg("program", "deploy", "shows.lua", "--mesh")
    assert done.returncode == 0, done.stderr
    shown = ygg("program", "show", "shows").stdout
    assert "depends on units 1.0.0" in shown
    assert "shows is linked with units 1.1.0" in shown
    answer = ygg.json("show", "shows")
    assert answer["program"]["deployments"][0]["packages"] == [{"id": "units", "version": "1.1.0"}]  # type: ignore[index]
    done = ygg("program", "unload", "--program", "units", "--force")
    assert done.returncode != 0
    assert "linked into what is deployed: shows" in done.stderr
