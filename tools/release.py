"""Make a release: version, changelog, released protos, wheel, firmware sizes and checksums, then a commit and a tag.

    make release VERSION=0.2.0              needs a clean checkout; pushes nothing
    make release VERSION=0.2.0 DRY_RUN=1    build dist/ only, and restore the files of the checkout

The version goes into pyproject.toml, the section `Unreleased` of CHANGELOG.md becomes the version's own, and today's
protos become those that `buf breaking` compares later ones with. dist/ holds the results, named in SHA256SUMS.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
CHANGED = ("pyproject.toml", "CHANGELOG.md", "protos/released.binpb")
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_PROJECT_VERSION = re.compile(r'(?m)^version = "([^"]+)"$')
_UNRELEASED = re.compile(r"(?ms)^## Unreleased\n(.*?)(?=^## |\Z)")


class ReleaseError(Exception):
    """The release cannot be made; the message says what to do."""


def parsed(version: str) -> tuple[int, ...]:
    """Return the numbers of MAJOR.MINOR.PATCH; raise ReleaseError for anything else."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise ReleaseError(f"{version!r} is not MAJOR.MINOR.PATCH, such as 0.2.0")
    return tuple(map(int, match.groups()))


def bumped(pyproject: str, version: str) -> str:
    """Return pyproject.toml's text with the new version; raise ReleaseError unless it is above the old one."""
    (old,) = _PROJECT_VERSION.findall(pyproject)
    if parsed(version) <= parsed(old):
        raise ReleaseError(f"{version} is not above {old}, the version in pyproject.toml")
    return _PROJECT_VERSION.sub(f'version = "{version}"', pyproject)


def closed(changelog: str, version: str, date: str) -> tuple[str, str]:
    """Return the changelog with its unreleased section closed as the version's, and that section's text."""
    match = _UNRELEASED.search(changelog)
    notes = match[1].strip() if match else ""
    if not notes:
        raise ReleaseError("CHANGELOG.md has nothing under `## Unreleased`")
    section = f"## Unreleased\n\n## {version} - {date}\n\n{notes}\n\n"
    return _UNRELEASED.sub(lambda _: section, changelog).rstrip("\n") + "\n", notes + "\n"


def checksums(directory: Path) -> str:
    """Return the lines of SHA256SUMS for a directory's files, in the format of sha256sum."""
    files = sorted(path for path in directory.iterdir() if path.name != "SHA256SUMS")
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


def _run(*command: str, **environment: str) -> str:
    """Run a command in the checkout and return its output; raise ReleaseError with the end of it if it fails."""
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"failed: {' '.join(command)}\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def _say(step: str) -> None:
    sys.stdout.write(f"  {step}\n")
    sys.stdout.flush()


def _check_checkout(version: str) -> None:
    if changed := _run("git", "status", "--porcelain"):
        raise ReleaseError(f"the checkout has changes; commit them first:\n{changed}")
    if _run("git", "tag", "--list", f"v{version}"):
        raise ReleaseError(f"the tag v{version} exists")


def _prepare(version: str, date: str) -> None:
    """Write the version's files into the checkout and everything else into dist/."""
    project, changelog = ROOT / "pyproject.toml", ROOT / "CHANGELOG.md"
    text = bumped(project.read_text(), version)
    closed_changelog, notes = closed(changelog.read_text(), version, date)
    project.write_text(text)
    changelog.write_text(closed_changelog)
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    (DIST / "NOTES.md").write_text(notes)
    _say("releasing the protos")
    _run("make", "--no-print-directory", "protos-release")
    shutil.copy(ROOT / "protos" / "released.binpb", DIST / "protos.binpb")
    _say("measuring the firmware on rv32imc")
    _run("make", "--no-print-directory", "size")
    shutil.copy(ROOT / "build" / "size.json", DIST / "firmware-sizes.json")
    _say("building the wheel")
    epoch = _run("git", "log", "-1", "--format=%ct").strip()
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(DIST), SOURCE_DATE_EPOCH=epoch)
    (DIST / "SHA256SUMS").write_text(checksums(DIST))


def release(version: str, *, dry_run: bool) -> None:
    """Make the release; raise ReleaseError, with the checkout as it was, if a step fails."""
    parsed(version)
    _check_checkout(version)
    try:
        _prepare(version, datetime.datetime.now(datetime.UTC).date().isoformat())
        if not dry_run:
            _run("git", "commit", "-q", "-m", f"release: publish {version}", "--", *CHANGED)
            _run("git", "tag", "-a", f"v{version}", "-m", f"Yggdrasil {version}")
    finally:
        _run("git", "checkout", "-q", "HEAD", "--", *CHANGED)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="make release", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("version", help="MAJOR.MINOR.PATCH, above the current one")
    parser.add_argument("--dry-run", action="store_true", help="build dist/ only; no commit, no tag")
    given = parser.parse_args(arguments)
    try:
        release(given.version, dry_run=given.dry_run)
    except ReleaseError as e:
        sys.stderr.write(f"error: {e}\n")
        return 1
    sys.stdout.write((DIST / "SHA256SUMS").read_text())
    if not given.dry_run:
        sys.stdout.write(f"committed and tagged v{given.version}; publish it:  git push --follow-tags\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
