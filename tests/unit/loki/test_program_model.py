"""Packages: what is accepted, what is refused and why; versions in their order; arguments."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from services.domain.errors import YggError
from services.loki.model import Language
from services.loki.programs import model
from services.loki.programs.errors import InvalidPackageError
from services.loki.programs.model import Dependency, Manifest, Package, Parameter, Version

SOURCE = "log('hello')"
MANIFEST = Manifest("blink", Version((1, 0, 0)), Language.LUA)


def test_a_package_gets_its_name_and_checksum() -> None:
    checked = model.check_package(Package(MANIFEST, SOURCE)).manifest
    assert checked.name == "blink"
    assert checked.checksum == hashlib.sha256(SOURCE.encode()).hexdigest()


def test_a_source_that_was_changed_is_refused_with_both_checksums() -> None:
    stale = replace(MANIFEST, checksum=hashlib.sha256(b"other").hexdigest())
    with pytest.raises(InvalidPackageError, match="checksum") as caught:
        model.check_package(Package(stale, SOURCE))
    assert hashlib.sha256(SOURCE.encode()).hexdigest() in caught.value.message


@pytest.mark.parametrize(
    "package",
    [
        Package(MANIFEST, ""),
        Package(MANIFEST, "  \n"),
        Package(MANIFEST, "a\0b"),
        Package(MANIFEST, "x" * (256 * 1024 + 1)),
        Package(replace(MANIFEST, id="Blink"), SOURCE),
        Package(replace(MANIFEST, id="../etc"), SOURCE),
        Package(replace(MANIFEST, name="x" * 101), SOURCE),
        Package(replace(MANIFEST, name="a\u202eb"), SOURCE),
        Package(replace(MANIFEST, checksum="beef"), SOURCE),
        Package(replace(MANIFEST, priority=101), SOURCE),
        Package(replace(MANIFEST, parameters=(Parameter("a"), Parameter("a"))), SOURCE),
        Package(replace(MANIFEST, dependencies=(Dependency("blink"),)), SOURCE),
    ],
)
def test_a_package_that_breaks_a_rule_is_refused(package: Package) -> None:
    with pytest.raises(YggError):
        model.check_package(package)


def test_versions_are_ordered_as_semver_says() -> None:
    texts = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0",
        "1.2.0",
        "1.10.0",
    ]
    versions = [Version.parse(text) for text in texts]
    backwards = list(reversed(versions))
    assert sorted(backwards) == versions
    assert [str(version) for version in versions] == texts


@pytest.mark.parametrize(
    "text", ["", "1", "1.0", "01.0.0", "1.0.0+build", "v1.0.0", "1.0.0-", "1.0.0\n", "١.0.0", "9" * 70]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidPackageError):
        Version.parse(text)


def test_a_record_that_was_changed_since_it_was_loaded_is_found_out() -> None:
    checked = model.check_package(Package(MANIFEST, SOURCE))
    model.verify(checked)
    with pytest.raises(InvalidPackageError, match="was loaded"):
        model.verify(replace(checked, source=SOURCE + " os.exit()"))


def test_arguments_take_defaults_and_must_be_declared() -> None:
    manifest = replace(MANIFEST, parameters=(Parameter("limit", default=20), Parameter("zone")))
    assert model.arguments(manifest, {"zone": "hall"}) == {"limit": 20, "zone": "hall"}
    with pytest.raises(InvalidPackageError, match="zone"):
        model.arguments(manifest, {})
    with pytest.raises(InvalidPackageError, match="color"):
        model.arguments(manifest, {"zone": "hall", "color": 1})


def test_limits_state_their_bounds() -> None:
    assert model.limits(timers=0, run_timeout_s=5).run_timeout_s == 5
    with pytest.raises(InvalidPackageError, match="1 to 256"):
        model.limits(timers=257)
