"""`ygg script` against a real Loki with the real registry and bridge."""

from __future__ import annotations

import json
import os
import secrets
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
from tests.fixtures.process import starter
from tests.fixtures.wait import until

ROOT = Path(__file__).resolve().parents[3]

BLINK = """-- Blink an LED.
-- @param times int How often, 1 to 20.
-- @param user string? The requesting user.
-- @result count int How often it was lit.
log("blinking for " .. (args.user or "guest"))
return { count = args.times * 2 }
"""
BLINK_TEST = """test("it doubles", function() expect_equal(subject{times = 3}, {count = 6}) end)
test("a sensor", function() board("temp0.celsius", 80) expect_equal(read_temp0(), 80.0) end)
"""
ALARM_TEST = '(test "hot" (board "temp0.celsius" 80) (expect-true (> (read-temp0) 75)))\n'


@dataclass(frozen=True)
class Command:
    """`ygg` with a separate home and context."""

    folder: Path
    environment: dict[str, str]

    def start(self, *words: str, **how: Any) -> subprocess.Popen[str]:
        """Start a command and return its process."""
        argv = [sys.executable, "-m", "ygg", *words]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(argv, cwd=self.folder, env=self.environment, **(pipes | how))

    def __call__(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command and return its output and exit status."""
        process = self.start(*words)
        out, err = process.communicate(stdin, timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def write(self, name: str, text: str) -> Path:
        """Write a file into the working folder."""
        path = self.folder / name
        path.write_text(text)
        return path


@pytest.fixture(scope="module")
def loki(shared_processes: Processes, pki: Pki, scheme_cache: Path) -> Iterator[str]:
    with starter(pki) as start:
        process = start(
            "loki",
            nats_url=shared_processes.nats.url,
            registry_endpoint=shared_processes.endpoint("registry"),
            bridge_endpoint=shared_processes.endpoint("jotunheim_bridge"),
            data_dir=scheme_cache,
            workers=1,
        )
        process.ready(60)
        yield process.listen


@pytest.fixture
def ygg(loki: str, shared_processes: Processes, pki: Pki, tmp_path: Path) -> Command:
    home = tmp_path / "home"
    environment = {"PATH": os.environ["PATH"], "YGG_HOME": str(home), "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    command = Command(tmp_path, environment)
    endpoints = ["--registry", shared_processes.endpoint("registry"), "--loki", loki]
    endpoints += ["--bridge", shared_processes.endpoint("jotunheim_bridge")]
    identity = str(pki.directory("user", "operator"))
    done = command("context", "set", "test", "--identity", identity, *endpoints)
    assert done.returncode == 0, done.stderr
    assert command("context", "use", "test").returncode == 0
    return command


@pytest.fixture
def name() -> str:
    return f"blink_{secrets.token_hex(3)}"


def test_a_script_is_registered_listed_run_shown_and_removed(ygg: Command, name: str) -> None:
    ygg.write(f"{name}.lua", BLINK)
    done = ygg("script", "register", f"{name}.lua")
    assert done.returncode == 0, done.stderr
    assert f"registered {name}" in done.stdout
    listed = json.loads(ygg("script", "ls", f"{name[:-1]}?", "--json").stdout)
    assert [(row["name"], row["language"], row["description"]) for row in listed] == [(name, "lua", "Blink an LED.")]
    (ygg.folder / f"{name}.lua").unlink()
    ran = ygg("script", "run", name, "--arg", "times=3", "--json")
    assert json.loads(ran.stdout)["value"] == {"count": 6}, ran.stderr
    wrong = ygg("script", "run", name)
    assert wrong.returncode != 0
    assert f"{name} needs times" in wrong.stderr
    assert ygg("script", "show", name).stdout == BLINK
    assert ygg("script", "rm", name).returncode == 0
    assert ygg("script", "run", name).returncode != 0


def test_invalid_header_is_reported_with_its_line(ygg: Command) -> None:
    ygg.write("bad.lua", "-- Fine.\n-- @param times number\nreturn 1\n")
    done = ygg("script", "register", "bad.lua")
    assert done.returncode == 2
    assert "line 2: unknown type number" in done.stderr


def test_check_reports_line_and_column_and_fails_on_errors(ygg: Command) -> None:
    ygg.write("alarm.scm", '(define temp 1)\n(publish "x" \'((temperature . temp)))\n')
    done = ygg("script", "check", "alarm.scm")
    assert done.returncode == 0
    assert "2:14" in done.stdout
    assert "Write `((temperature . ,temp))" in " ".join(done.stdout.split())
    ygg.write("bad.lua", "ygg.nothing()\n")
    done = ygg("script", "check", "bad.lua", "--json")
    assert done.returncode == 1
    assert [(f["line"], f["column"], f["rule"]) for f in json.loads(done.stdout)] == [(1, 5, "UNKNOWN_CALL")]
    ygg.write("good.lua", "return 1\n")
    assert ygg("script", "check", "good.lua").returncode == 0


def test_tests_are_found_run_and_counted(ygg: Command) -> None:
    (ygg.folder / "tests").mkdir()
    for file, text in (("blink.lua", BLINK), ("blink_test.lua", BLINK_TEST), ("alarm_test.scm", ALARM_TEST)):
        ygg.write(f"tests/{file}", text)
    done = ygg("script", "test", "tests")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 total, 3 passed, 0 failed" in done.stdout
    ygg.write(
        "tests/blink_test.lua", 'test("it trebles", function()\n  expect_equal(subject{times = 3}, {count = 9})\nend)'
    )
    done = ygg("script", "test", "--file", "tests/blink_test.lua")
    assert done.returncode == 1
    assert "1 total, 0 passed, 1 failed" in done.stdout
    assert "tests/blink_test.lua:2" in done.stdout
    assert ygg("script", "test").returncode == 1, "the whole folder has it, too"
    (ygg.folder / "empty").mkdir()
    assert "no tests in" in ygg("script", "test", "empty").stderr


@pytest.mark.parametrize(
    ("lang", "lines"),
    [("lua", "x = 20\nx + 1\nerror('no')\nx * 2\n"), ("scheme", "(define x 20)\n(+ x\n   1)\n(car 1)\n(* x 2)\n")],
)
def test_a_conversation_is_typed(ygg: Command, lang: str, lines: str) -> None:
    done = ygg("script", "repl", "--lang", lang, stdin=lines)
    assert done.returncode == 0, done.stderr
    said = done.stdout.split("\n")
    assert (said[0], said[-2]) == ("21", "40")


@pytest.mark.parametrize(
    ("lang", "lines", "expected"),
    [
        ("lua", "function f(n)\n  if n > 1 then\n\n    return n * 2\n  end\nend\nf(21)\n", ["42"]),
        ("lua", "s = [[a\nb]]\n#s\nfor i = 1, 2 do\n  log(i)\nend\n", ["3", "1", "2"]),
        ("lua", "f(\n1,\n", ["line 2: unexpected symbol near <eof>"]),
        ("lua", "x = = 1\n7\n", ["line 1: unexpected symbol near '='", "7"]),
        ("scheme", '(define (f)\n  "a ( in a text"\n  ; a ( in a comment\n  7)\n(f)\n', ["7"]),
        ("scheme", "(+ 1\n", ["line 1: this ( is never closed"]),
        ("scheme", '(display "a\nb")\n#| (\n|# 5\n', ["a", "b", "5"]),
    ],
)
def test_conversation_takes_a_text_of_several_lines(ygg: Command, lang: str, lines: str, expected: list[str]) -> None:
    done = ygg("script", "repl", "--lang", lang, stdin=lines)
    assert done.returncode == 0, done.stderr
    shown = [line.rpartition("  ")[2] for line in (done.stderr + done.stdout).splitlines()]
    assert [one for one in expected if one not in shown] == [], shown


def test_logs_of_registered_runs_are_shown_and_followed(ygg: Command, name: str) -> None:
    ygg.write(f"{name}.lua", BLINK)
    assert ygg("script", "register", f"{name}.lua").returncode == 0
    (ygg.folder / f"{name}.lua").unlink()
    assert ygg("script", "run", name, "--arg", "times=1", "--arg", "user=first").returncode == 0
    assert "blinking for first" in until(lambda: ygg("script", "logs", name).stdout, 30)
    following = ygg.start("script", "logs", name, "-f")
    try:
        assert following.stdout is not None
        assert "blinking for first" in following.stdout.readline()  # the subscription is active
        assert ygg("script", "run", name, "--arg", "times=1", "--arg", "user=second").returncode == 0
        assert "blinking for second" in following.stdout.readline()
    finally:
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=20)


def test_dropped_timers_are_reported_with_advice(ygg: Command) -> None:
    ygg.write("tick.lua", 'every("tick", 1, print) return 1\n')
    done = ygg("script", "run", "tick.lua")
    assert done.returncode == 0
    assert "timer tick (every 1)" in done.stderr
    assert "ygg program deploy tick.lua" in done.stderr
