"""What every listing looks like at 60, 80 and 140 columns, as files beside this one.

To write them again after a wanted change:  YGG_SNAPSHOTS=write pytest tests/unit/ygg/test_listings.py
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.fixtures.answers import Answers
from tests.fixtures.commands import samples
from ygg import output
from ygg.cli.run import run

SNAPSHOTS = Path(__file__).parent / "listings"
WIDTHS = (60, 80, 140)
LISTINGS = (
    *("context ls", "context show", "status"),
    *("device ls", "device show", "device contract", "device contracts", "device tokens"),
    *("twin get", "twin history", "group ls", "script ls"),
    *("program ls", "program show", "program globals", "program history", "program status", "program store ls"),
    *("ota status", "ota rollout ls", "ota rollout status"),
)
# Their words are of this machine: certificates made now, paths of its files.
ELSEWHERE = {"pki show", "creds", "doctor"}
READING = {
    "ls",
    "show",
    "status",
    "history",
    "contract",
    "contracts",
    "tokens",
    "get",
    "globals",
    "stats",
    "td",
    "logs",
}
SAMPLES = {str(sample): sample for sample in samples()}
# A line of a log is an entry, a document is JSON, and the store has no key `missing`.
FITTING = [
    words
    for words, sample in SAMPLES.items()
    if sample.words[-1] in READING | {"why", "diff"}
    and words not in ELSEWHERE | {"script logs", "program logs", "device td", "program store get"}
]
ASKED = {"device why": ["-l", "zone=hall"]}
CONTEXT = {
    "identity": "/home/somebody/.ygg/mesh/identities/user/operator",
    "registry": "127.0.0.1:50051",
    "nats_monitor": "",
}


@pytest.fixture(autouse=True)
def mesh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A mesh that has an answer to everything, and no NATS to ask."""
    contexts = {"local": CONTEXT, "compose": {**CONTEXT, "registry": "registry.example.org:50051"}}
    text = json.dumps({"schema": 1, "current": "local", "contexts": contexts})
    (tmp_path / "contexts.json").write_text(text)
    monkeypatch.setenv("YGG_HOME", str(tmp_path))
    monkeypatch.delenv("YGG_CONTEXT", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ygg.client.Mesh.channel", lambda *_: Answers())


def shown(words: str, width: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(output, "terminal_width", lambda: width)
    run([*words.split(), *SAMPLES[words].arguments, *ASKED.get(words, [])])
    captured = capsys.readouterr()
    assert "error:" not in captured.err
    return captured.out


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("words", LISTINGS)
def test_a_listing_looks_as_it_did(
    words: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = shown(words, width, monkeypatch, capsys)
    found = re.sub(r"\d{4}-\d\d-\d\d", "2026-01-31", re.sub(r"\d\d:\d\d:\d\d", "12:34:56", found))
    assert max(map(len, found.splitlines())) <= width
    file = SNAPSHOTS / f"{words.replace(' ', '-')}-{width}.txt"
    if os.environ.get("YGG_SNAPSHOTS") == "write":
        SNAPSHOTS.mkdir(exist_ok=True)
        file.write_text(found)
    assert "True" not in found
    assert "None" not in found
    assert found == file.read_text(), f"if that is right:  YGG_SNAPSHOTS=write pytest {Path(__file__).name}"


@pytest.mark.parametrize("words", [words for words in LISTINGS if SAMPLES[words].words[-1] in ("ls", "tokens")])
def test_a_listing_in_a_pipe_is_a_line_a_row(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    piped = shown(words, None, monkeypatch, capsys).splitlines()
    wide = shown(words, 1000, monkeypatch, capsys).splitlines()
    assert piped == wide


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("words", FITTING)
def test_output_of_reading_commands_fits_terminal(
    words: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(words, width, monkeypatch, capsys).splitlines()
    assert [line for line in lines if len(line) > width] == []


def test_every_command_with_a_table_is_a_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    with_table = set()
    for words, sample in SAMPLES.items():
        if sample.words[-1] in READING:
            monkeypatch.setattr(output.Output, "table", lambda *_, words=words, **__: with_table.add(words))
            run([*sample.words, *sample.arguments])
    assert with_table - ELSEWHERE <= set(LISTINGS)
    assert with_table
