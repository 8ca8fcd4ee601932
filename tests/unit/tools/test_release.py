"""The pure parts of a release: version, changelog, checksums."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tools import release
from tools.release import ReleaseError

PROJECT = '[project]\nname = "x"\nversion = "0.9.1"\n\n[tool.x]\npython_version = "3.11"\n'
CHANGELOG = "# Changelog\n\n## Unreleased\n\n### Added\n\n- A thing.\n\n## 0.9.1 - 2026-01-01\n\n- Older.\n"


def test_bumped_changes_only_the_project_version() -> None:
    assert release.bumped(PROJECT, "0.10.0") == PROJECT.replace('"0.9.1"', '"0.10.0"')


@pytest.mark.parametrize("version", ["0.9.1", "0.9.0", "0.8.20"])
def test_bumped_rejects_a_version_not_above(version: str) -> None:
    with pytest.raises(ReleaseError, match=r"not above 0\.9\.1"):
        release.bumped(PROJECT, version)


@pytest.mark.parametrize("version", ["", "1", "1.0", "v1.0.0", "1.0.0-rc1", "01.0.0", "1.0.0\n"])
def test_parsed_rejects_other_formats(version: str) -> None:
    with pytest.raises(ReleaseError, match=r"MAJOR\.MINOR\.PATCH"):
        release.parsed(version)


def test_closed_moves_unreleased_notes_to_the_version() -> None:
    text, notes = release.closed(CHANGELOG, "0.10.0", "2026-12-01")
    assert notes == "### Added\n\n- A thing.\n"
    assert text == CHANGELOG.replace("## Unreleased\n", "## Unreleased\n\n## 0.10.0 - 2026-12-01\n")


@pytest.mark.parametrize("changelog", ["# Changelog\n", "## Unreleased\n\n## 0.9.1\n\n- Older.\n", "## Unreleased\n"])
def test_closed_rejects_empty_notes(changelog: str) -> None:
    with pytest.raises(ReleaseError, match="nothing under"):
        release.closed(changelog, "0.10.0", "2026-12-01")


def test_closed_works_on_the_changelog_of_the_project() -> None:
    text, notes = release.closed((release.ROOT / "CHANGELOG.md").read_text(), "999.0.0", "2026-12-01")
    assert notes in text
    assert "## 999.0.0 - 2026-12-01" in text


def test_checksums_are_in_the_format_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"2")
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "SHA256SUMS").write_text("old")
    one, two = (hashlib.sha256(data).hexdigest() for data in (b"1", b"2"))
    assert release.checksums(tmp_path) == f"{one}  a\n{two}  b\n"
