"""Every command line of `ygg` that a document, help text, docstring or hint shows is one that `ygg` takes."""

from pathlib import Path

import pytest

from tests.fixtures import documents
from tests.fixtures.documents import Line, fault


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YGG_HOME", str(tmp_path))


def test_documents_show_only_commands_that_ygg_takes() -> None:
    found = list(documents.lines())
    faults = [f"{line}\n    {said}" for line in found if (said := fault(line))]
    assert not faults, "\n".join(faults)
    assert {line.where.partition(":")[0].partition("/")[0] for line in found} >= {
        "README.md",
        "docs",
        "ygg",
        "services",
    }


@pytest.mark.parametrize(
    "text",
    [
        "ygg devices ls",
        "ygg device list",
        "ygg device ls --online --wrong",
        "ygg device show",
        "ygg device tokens --delete",
        "ygg ota floor sim-board two",
        "ygg ota manifest fw.bin --class sim -o 1.release",
    ],
)
def test_fault_finds_commands_that_ygg_refuses(text: str) -> None:
    assert fault(Line("here", text))


@pytest.mark.parametrize(
    "text", ["ygg device", "ygg device ls -l", "ygg device show", "ygg ota floor CLASS N", "ygg device token …"]
)
def test_fault_lets_a_mention_leave_out_arguments(text: str) -> None:
    assert not fault(Line("here", text, mention=True))
    assert fault(Line("here", text.replace("device", "devices").replace("ota", "otter"), mention=True))


def test_split_finds_each_command_of_a_line() -> None:
    line = "$ A=1 ygg backup - | zstd > x && grpcurl $(ygg grpcurl) localhost:1 list   # says `ygg nothing`"
    assert list(documents.split(line)) == ["ygg grpcurl", "ygg backup -"]


def test_of_document_joins_lines_and_separates_mentions() -> None:
    text = "See `ygg down`.\n```\nygg device label porch-1 \\\n  zone=hall   # and more\n```\n"
    assert list(documents.of_document(text, "x.md")) == [
        Line("x.md:3", "ygg device label porch-1 zone=hall"),
        Line("x.md", "ygg down", mention=True),
    ]


def test_of_python_reads_examples_hints_and_mentions() -> None:
    text = '"""Does.\n\nExample:  `ygg a b\n  c`\n"""\nX(f"Stop it:  ygg d {name}   ygg e")\ny = "Read `ygg f`."\n'
    assert {(line.text, line.mention) for line in documents.of_python(text, "x.py")} == {
        ("ygg a b c", False),
        ("ygg d X", False),
        ("ygg e", False),
        ("ygg f", True),
    }
