"""The check of commit messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import commit_message

GOOD = "bridge: reject a second Hello\n\nThe session had two epochs.\n"


@pytest.mark.parametrize(
    "message",
    [
        GOOD,
        "loki/scheme: embed the dialect\n",
        "docs: explain leases\n\n# Please enter the commit message\n",
        "Merge branch 'x'",
        'Revert "bridge: reject a second Hello"',
        "fixup! bridge: reject a second Hello",
        "ota: link a long address\n\n" + "x" * 200,
        "ota: show a diff\n\nWhy.\n# ------------------------ >8 ------------------------\n" + "y z " * 50,
    ],
)
def test_faults_accepts_a_good_message(message: str) -> None:
    assert commit_message.faults(message) == []


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("", "empty"),
        ("# only a comment", "empty"),
        ("fix things", "scope: imperative"),
        ("Bridge: reject it", "scope: imperative"),
        ("bridge:reject it", "scope: imperative"),
        ("bridge: rejected a second Hello", "not imperative"),
        ("bridge: rejecting a second Hello", "not imperative"),
        ("bridge: reject a second Hello.", "full stop"),
        ("bridge: reject " + "a" * 60, "75 characters; the limit is 72"),
        ("bridge: reject it\nbecause", "not blank"),
        ("bridge: reject it\n\n" + "word " * 30, "line 3 has 150 characters; the limit is 100"),
    ],
)
def test_faults_names_a_broken_rule(message: str, fault: str) -> None:
    assert any(fault in line for line in commit_message.faults(message))


def test_main_returns_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "COMMIT_EDITMSG"
    path.write_text(GOOD)
    assert commit_message.main([str(path)]) == 0
    path.write_text("oops")
    assert commit_message.main([str(path)]) == 1
    assert capsys.readouterr().err.startswith("commit message: the subject is not")
