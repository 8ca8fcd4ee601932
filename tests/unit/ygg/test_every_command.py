"""What holds for every command of `ygg`, whatever streams, words and numbers it gets: never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fixtures.commands import Sample, samples
from ygg.cli.run import run
from ygg.exits import Exit

ROOT = Path(__file__).parents[3]
SAMPLES = samples()
ONE_A_MODULE = list({sample.module: sample for sample in SAMPLES}.values())
ENDED = {int(code) for code in Exit}
HUGE = "1" + "0" * 30


@dataclass(frozen=True, slots=True)
class Ended:
    """A run of a command."""

    sample: Sample
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty home, and a context with unserved ports."""
    monkeypatch.setenv("YGG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    unserved = "127.0.0.1:9"
    services = [f"--{name}={unserved}" for name in ("registry", "bridge", "loki", "ota", "link")]
    assert run(["context", "set", "nowhere", "--identity", "missing", *services]) == 0
    monkeypatch.setenv("YGG_CONTEXT", "nowhere")


def run_each(tmp_path: Path, given: list[Sample], *, asks_help: bool = False, **streams: str) -> list[Ended]:
    """Each command in a separate process, with such streams."""
    cases = [{"arguments": [*one.words, *(["--help"] if asks_help else one.arguments)], **streams} for one in given]
    file, results = tmp_path / "cases.json", tmp_path / "results.json"
    file.write_text(json.dumps(cases))
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    script = ROOT / "tests" / "fixtures" / "forked_ygg.py"
    subprocess.run([sys.executable, str(script), str(file), str(results)], check=True, env=environ, cwd=tmp_path)
    found = json.loads(results.read_text())
    ended = [Ended(sample, one["code"], one["out"], one["err"]) for sample, one in zip(given, found, strict=True)]
    assert not [one for one in ended if "Traceback" in one.err + one.out or "ygg itself failed" in one.err]
    return ended


def test_command_ends_as_by_sigpipe_when_stdout_closes(tmp_path: Path) -> None:
    ended = run_each(tmp_path, SAMPLES, asks_help=True, stdout="gone")
    assert {(str(one.sample), one.code, one.err) for one in ended} == {(str(s), 141, "") for s in SAMPLES}


def test_a_command_with_closed_streams_ends_with_a_known_code(tmp_path: Path) -> None:
    for one in run_each(tmp_path, SAMPLES, stdin="closed", stdout="closed"):
        assert one.code in ENDED, one


@pytest.mark.parametrize("stderr", ["closed", "full"])
def test_remarks_that_cannot_be_written_change_no_exit_code(tmp_path: Path, stderr: str) -> None:
    plain = run_each(tmp_path, ONE_A_MODULE)
    assert [one.code for one in run_each(tmp_path, ONE_A_MODULE, stderr=stderr)] == [one.code for one in plain]


def test_command_on_a_full_disk_reports_it(tmp_path: Path) -> None:
    for one in run_each(tmp_path, ONE_A_MODULE, asks_help=True, stdout="full"):
        assert (one.code, one.err) == (1, "error: standard output: no space left on device\n"), one


def test_command_ends_as_by_sigpipe_when_stderr_closes(tmp_path: Path) -> None:
    for one in run_each(tmp_path, ONE_A_MODULE, stdout="gone", stderr="gone"):
        assert one.code in (0, 141), one


def test_help_fits_a_terminal_without_unicode(tmp_path: Path) -> None:
    for one in run_each(tmp_path, ONE_A_MODULE, asks_help=True, encoding="latin-1"):
        assert (one.code, one.err) == (0, ""), one


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_a_number_out_of_range_is_wrong_usage(sample: Sample, capsys: pytest.CaptureFixture[str]) -> None:
    for number in sample.numbers:
        assert number.max is not None, f"{sample} {number.name} has no bound"
        option = number.param_type_name == "option"
        words = [*sample.arguments, *([number.opts[0]] if option else ["1"] * (number.name == "newer")), HUGE]
        if number.required and not option:
            words = [*sample.arguments[:-1], HUGE]
        assert run([*sample.words, *words]) == Exit.USAGE
        assert "Input should be" in capsys.readouterr().err


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_an_argument_that_is_not_text_is_wrong_usage(sample: Sample, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*sample.words, "\udcff"]) == Exit.USAGE
    assert "not UTF-8" in capsys.readouterr().err
