"""Which packages a package is linked with: the newest that all accept, in the order in which they run."""

from __future__ import annotations

import pytest

from services.loki.model import Language
from services.loki.programs import links
from services.loki.programs.errors import InvalidPackageError
from services.loki.programs.model import Dependency, Manifest, Package, Version


def package(name: str, version: str = "1.0.0", *needs: str, source: str = "x = 1") -> Package:
    wanted = []
    for need in needs:
        program_id, _, least = need.partition(" ")
        wanted.append(Dependency(program_id, Version.parse(least) if least else None))
    return Package(Manifest(name, Version.parse(version), Language.LUA, dependencies=tuple(wanted)), source)


def loaded(*packages: Package) -> dict[tuple[str, Version], Package]:
    return {(one.manifest.id, one.manifest.version): one for one in packages}


def names(found: tuple[Package, ...]) -> list[str]:
    return [f"{one.manifest.id} {one.manifest.version}" for one in found]


def test_newest_release_of_same_major_version_is_chosen() -> None:
    have = loaded(*(package("u", version) for version in ("1.0.0", "1.4.0", "1.5.0-rc.1", "2.0.0")))
    assert names(links.link(package("app", "1.0.0", "u 1.0.0"), have)) == ["u 1.4.0"]
    assert names(links.link(package("app", "1.0.0", "u"), have)) == ["u 2.0.0"]
    assert names(links.link(package("app", "1.0.0", "u 1.5.0-rc.1"), have)) == ["u 1.5.0-rc.1"]


def test_shared_dependency_has_one_version_both_accept() -> None:
    have = loaded(package("u", "1.0.0"), package("u", "1.4.0"), package("u", "2.0.0"), package("m", "1.0.0", "u 1.2.0"))
    assert names(links.link(package("app", "1.0.0", "m", "u"), have)) == ["u 1.4.0", "m 1.0.0"]
    with pytest.raises(InvalidPackageError, match=r"u 1.2.0 or a later 1.x \(for m\)"):
        links.link(package("app", "1.0.0", "m", "u 2.0.0"), have)


def test_choice_is_repeated_when_requirements_change() -> None:
    have = loaded(package("a", "1.0.0"), package("a", "1.1.0", "b"), package("b", "1.0.0", "a 1.0.0"))
    with pytest.raises(InvalidPackageError, match="a -> b -> a"):
        links.link(package("app", "1.0.0", "a"), have)


def test_each_package_runs_once_after_its_dependencies() -> None:
    have = loaded(package("base"), package("l", "1.0.0", "base"), package("r", "1.0.0", "base"))
    assert names(links.link(package("app", "1.0.0", "r", "l"), have)) == ["base 1.0.0", "r 1.0.0", "l 1.0.0"]


def test_dependency_cycle_is_reported() -> None:
    have = loaded(package("b", "1.0.0", "c"), package("c", "1.0.0", "app"), package("app"))
    with pytest.raises(InvalidPackageError, match="app -> b -> c -> app"):
        links.link(package("app", "2.0.0", "b"), have)


def test_pins_are_kept_and_missing_versions_named() -> None:
    app = package("app", "1.0.0", "u 1.0.0")
    have = loaded(package("u", "1.0.0"), package("u", "1.1.0"))
    pins = {"u": Version((1, 0, 0))}
    assert names(links.pinned(pins, app, have)) == ["u 1.0.0"]
    with pytest.raises(InvalidPackageError, match=r"u 1\.0\.0 is no longer loaded"):
        links.pinned(pins, app, loaded(package("u", "1.1.0")))
    with pytest.raises(InvalidPackageError, match="not among what app was linked with"):
        links.pinned({}, app, have)


def test_all_sources_together_are_bounded() -> None:
    have = loaded(package("u", source="x" * links.MAX_LINKED_BYTES))
    with pytest.raises(InvalidPackageError, match="bytes of source"):
        links.link(package("app", "1.0.0", "u"), have)
