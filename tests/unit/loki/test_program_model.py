"""Packages: validation and its errors; order of versions; arguments."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from services.domain.errors import YggError
from services.domain.values import Value
from services.loki.fields import FieldType
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


def test_changed_source_is_refused_with_both_checksums() -> None:
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
def test_invalid_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidPackageError):
        Version.parse(text)


def test_record_changed_since_load_is_detected() -> None:
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


def typed(kind: FieldType, default: Value = None, *, optional: bool = False) -> Manifest:
    return replace(MANIFEST, parameters=(Parameter("times", default=default, type=kind, optional=optional),))


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        (FieldType.INT, 3, 3),
        (FieldType.INT, 3.0, 3),
        (FieldType.INT, "40%", 40),
        (FieldType.DOUBLE, 3, 3.0),
        (FieldType.STRING, "hot", "hot"),
        (FieldType.BYTES, "é", "é".encode()),
        (FieldType.BOOL, False, False),
        (FieldType.ANY, ["hot"], ["hot"]),
    ],
)
def test_a_parameter_has_the_type_that_is_declared(kind: FieldType, value: Value, kept: Value) -> None:
    checked = model.check_package(Package(typed(kind, value), SOURCE)).manifest
    for found in (model.arguments(checked, {})["times"], model.arguments(typed(kind), {"times": value})["times"]):
        assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (FieldType.INT, "hot", "times is an int, not a string"),
        (FieldType.INT, 2.5, "times is an int, not a double"),
        (FieldType.DOUBLE, "20 Cel", "times is a double and declares no unit; give the number alone"),
        (FieldType.INT, True, "times is an int, not a bool"),
        (FieldType.DOUBLE, "2", "times is a double, not a string"),
        (FieldType.BOOL, 1, "times is a bool, not an int"),
        (FieldType.STRING, 5, "times is a string, not an int"),
    ],
)
def test_a_default_or_an_argument_of_another_type_is_refused(kind: FieldType, value: Value, says: str) -> None:
    with pytest.raises(InvalidPackageError) as caught:
        model.check_package(Package(typed(kind, value), SOURCE))
    assert caught.value.message == f"the default of {says}"
    with pytest.raises(InvalidPackageError) as caught:
        model.arguments(typed(kind), {"times": value})
    assert caught.value.message == says


def test_an_optional_parameter_may_be_left_out() -> None:
    assert model.arguments(typed(FieldType.INT, optional=True), {}) == {}
    assert model.arguments(typed(FieldType.INT, optional=True), {"times": 2}) == {"times": 2}


def test_limits_state_their_bounds() -> None:
    assert model.limits(timers=0, run_timeout_s=5).run_timeout_s == 5
    with pytest.raises(InvalidPackageError, match="1 to 256"):
        model.limits(timers=257)
