"""`ygg program` against the real loki."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.mesh import Processes
from tests.fixtures.pki import Pki
from tests.fixtures.process import ROOT, starter
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
    """The exit status and the output of a command."""

    returncode: int
    stdout: str
    stderr: str


class Command:
    """`ygg program …` in this process, which avoids the start of Python for each command."""

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
    assert "canary 1.1.0 on 100 %" in done.stdout, done.stderr
    assert ygg("program", "rollout", "count", "--promote").returncode == 0
    shown = ygg.json("show", "count")
    assert isinstance(shown, dict)
    assert shown["program"]["deployments"][0]["version"] == "1.1.0"
    for verb in ("restart", "stop", "start"):
        assert ygg("program", verb, "count").returncode == 0
    assert ygg("program", "unload", "--program", "count").returncode != 0
    assert ygg("program", "unload", "--program", "count", "--force").returncode == 0
    assert ygg.json("ls") == []


def test_fault_of_a_file_is_reported_with_its_line(ygg: Command) -> None:
    (ygg.folder / "bad.lua").write_text("-- Bad.\n-- @memory lots\nx = 1\n")
    done = ygg("program", "load", "bad.lua")
    assert done.returncode == 2
    assert "line 2: @memory lots" in done.stderr
    (ygg.folder / "worse.scm").write_text("(define x")
    done = ygg("program", "load", "worse.scm")
    assert done.returncode == 1
    assert "never closed" in done.stderr
    assert ygg("program", "deploy", "missing", "--mesh").returncode == 4
    assert ygg("program", "deploy", "missing").returncode == 2


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
    assert "linked into deployed programs: shows" in done.stderr


def test_status_shows_how_programs_fare(ygg: Command) -> None:
    (ygg.folder / "fares.scm").write_text(
        '(store "k" 1)\n(shadow-update "mood" "good")\n(every "t" 60 (lambda () 1))\n'
    )
    assert ygg("program", "deploy", "fares.scm", "--mesh").returncode == 0

    def shown() -> str:
        text = ygg("program", "status", "fares").stdout
        return text if "running" in text and "mood" in text else ""

    text = until(shown)
    assert "fares reports mood = good" in text
    assert text.split()[:4] == ["DEPLOYMENT", "DEVICE", "VERSION", "STATE"]
    found: Any = ygg.json("status", "fares")
    assert (found[0]["state"], found[0]["reported"], found[0]["statistics"]["timers"]) == (
        "running",
        {"mood": "good"},
        1,
    )
    assert ygg("program", "stop", "fares").returncode == 0
    until(lambda: "stopped" in ygg("program", "status").stdout)
    assert ygg("program", "status", "missing").returncode == 4
    assert ygg("program", "unload", "--program", "fares", "--force").returncode == 0


def test_store_is_listed_read_and_written(ygg: Command) -> None:
    (ygg.folder / "keeps.lua").write_text("store('n', 1)\n")
    assert ygg("program", "deploy", "keeps.lua", "--mesh").returncode == 0
    until(lambda: ygg("program", "store", "get", "keeps", "n").stdout == "1\n")
    done = ygg("program", "store", "set", "keeps", "n=2", 'list=[1, "x"]', "word=two words")
    assert done.returncode == 0, done.stderr
    assert ygg.json("store", "get", "keeps", "list") == [1, "x"]
    listed = ygg("program", "store", "ls", "keeps").stdout
    assert [line.split(maxsplit=1)[0] for line in listed.splitlines()] == ["KEY", "list", "n", "word"]
    assert ygg("program", "store", "set", "keeps", "n=").stdout == "n deleted\n"
    entries: Any = ygg.json("store", "ls", "keeps")
    assert entries["entries"] == {"list": [1, "x"], "word": "two words"}
    done = ygg("program", "store", "get", "keeps", "n")
    assert (done.returncode, "ygg program store ls keeps" in done.stderr) == (4, True)
    assert ygg("program", "store", "ls", "missing").returncode == 4
    assert ygg("program", "unload", "--program", "keeps", "--force").returncode == 0


class Dev:
    """`ygg program dev` as a separate process, and the events that it prints."""

    def __init__(self, ygg: Command, *words: str) -> None:
        self._out = (ygg.folder / "dev.ndjson").open("w+")
        command = [sys.executable, "-m", "ygg", "--json", "program", "dev", *words]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, cwd=ygg.folder, stdout=self._out, stderr=self._out, env=environment)

    def lines(self) -> list[dict[str, Any]]:
        self._out.seek(0)
        return [json.loads(line) for line in self._out.read().splitlines() if line.startswith("{")]

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines() if "event" in line]

    def logged(self) -> list[str]:
        return [line["entry"]["message"] for line in self.lines() if "entry" in line]

    def interrupt(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
def test_dev_redeploys_at_each_save_and_leaves_nothing(ygg: Command, number: signal.Signals) -> None:
    file = ygg.folder / "bench.lua"
    file.write_text("-- @version 1.0.0\nlog('released')\n")
    assert ygg("program", "deploy", "bench.lua", "--mesh").returncode == 0
    until(lambda: "running" in ygg("program", "show", "bench").stdout)
    released: Any = ygg.json("show", "bench")
    dev = Dev(ygg, "bench.lua", "--mesh")
    try:
        until(lambda: "released" in dev.logged())
        file.write_text("-- @version 1.0.0\nstore('n', (store.load('n') or 0) + 1) log('saved', store.load('n'))\n")
        until(lambda: "saved 1" in dev.logged())
        file.write_text("log('broken' (\n")
        until(lambda: dev.events() == ["loaded", "loaded", "refused"])
        assert ygg.json("eval", "bench_dev", "store.load('n')") == 1
        file.write_text("store('n', (store.load('n') or 0) + 1) log('saved', store.load('n'))\n")
        until(lambda: "saved 2" in dev.logged())
        versions: Any = ygg.json("ls")
        ours = {one["id"]: [v["version"] for v in one["versions"]] for one in versions if "bench" in one["id"]}
        assert ours == {"bench": ["1.0.0"], "bench_dev": ["0.0.0-dev"]}
    finally:
        code = dev.interrupt(number)
    assert code == 130
    assert dev.events()[-1] == "ended"
    assert ygg.json("show", "bench") == released
    assert ygg("program", "show", "bench_dev").returncode == 4
    assert ygg("program", "unload", "--program", "bench", "--force").returncode == 0


def test_dev_refuses_a_released_program(ygg: Command) -> None:
    (ygg.folder / "ours.lua").write_text("x = 1\n")
    assert ygg("program", "deploy", "ours.lua", "--mesh").returncode == 0
    done = ygg("program", "dev", "ours.lua", "--mesh", "--as", "ours")
    assert done.returncode == 1
    assert "ours is already deployed as ours 0.1.0" in done.stderr
    assert ygg("program", "dev", "ours.lua").returncode == 2
    assert ygg("program", "dev", "none.lua", "--mesh").returncode == 2
    assert ygg.json("eval", "ours", "x") == 1
    assert ygg("program", "unload", "--program", "ours", "--force").returncode == 0
