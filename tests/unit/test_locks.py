"""deploy/locks: every requirement of pyproject.toml is locked, with hashes, in one version everywhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "deploy" / "locks").glob("*.txt"))
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)[^\n]*((?:\n    --hash=sha256:[0-9a-f]{64}[^\n]*)*)", re.MULTILINE)


def pins(path: Path) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version, _ in _PINNED.findall(path.read_text())}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_lock_has_a_hash_for_each_package_and_nothing_else(path: Path) -> None:
    text = path.read_text()
    assert all(hashes for _, _, hashes in _PINNED.findall(text))
    assert _PINNED.sub("", text).strip() == ""


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_locks_agree_on_versions(path: Path) -> None:
    everything = {**pins(ROOT / "deploy" / "locks" / "bench.txt"), **pins(ROOT / "deploy" / "locks" / "tools.txt")}
    assert pins(path).items() <= everything.items()


def test_locks_meet_requirements_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    runtime = project["project"]["dependencies"]
    asked = {
        "runtime": runtime,
        "build": project["build-system"]["requires"],
        "servers": extras["servers"],
        "dev": [
            *runtime,
            *(one for extra in ("servers", "dev", "docs") for one in extras[extra]),
            *project["build-system"]["requires"],
        ],
        "bench": extras["bench"],
    }
    for name, requirements in asked.items():
        locked = pins(ROOT / "deploy" / "locks" / f"{name}.txt")
        for requirement in map(Requirement, requirements):
            version = locked.get(canonicalize_name(requirement.name), "")
            assert version in requirement.specifier, f"{requirement} in {name}.txt: run make lock"


def test_images_and_setup_install_locked_packages_only() -> None:
    dockerfile, makefile = (ROOT / "deploy" / "Dockerfile").read_text(), (ROOT / "Makefile").read_text()
    assert "PIP_REQUIRE_HASHES=1" in dockerfile
    installs = re.findall(r"^.*\bpip\b.* install .*$|^\t.*\$\(PIP\).*$", dockerfile + makefile, re.MULTILINE)
    assert installs
    for line in (line for line in installs if not line.startswith("PIP ")):
        assert "locks/" in line or "--no-deps" in line, line
