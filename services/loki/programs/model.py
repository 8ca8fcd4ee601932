"""The model of packages and their validation. Pure; the engines check syntax, `placement` checks contracts."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from services.domain import ids
from services.domain.requirements import Requirement
from services.domain.values import Value, check
from services.loki.fields import FieldType, given_as
from services.loki.model import MAX_ARGUMENTS, MAX_SOURCE_BYTES, MIB, Language
from services.loki.programs.errors import InvalidPackageError

MAX_NAME_BYTES, MAX_DESCRIPTION_BYTES, MAX_AUTHOR_BYTES = 100, 1000, 200
MAX_PARAMETERS, MAX_REQUIREMENTS, MAX_DEPENDENCIES, MAX_PRIORITY = 32, 16, 16, 100
_NUMBER = r"(0|[1-9]\d{0,8})"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?\Z", re.ASCII)
_VERSION_HINT = "Write MAJOR.MINOR.PATCH, such as 1.4.0 or 2.0.0-rc.1."


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """A version after semver.org 2.0.0, section 11, without build metadata."""

    numbers: tuple[int, int, int]
    pre: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Version:
        """Return the version; raise InvalidPackageError."""
        found = _VERSION.match(text)
        if not found or len(text) > 60:
            shown = ids.printable(text, 40)
            raise InvalidPackageError(f"{shown!r} is no version", hint=_VERSION_HINT)
        pre = tuple(found[4].split(".")) if found[4] else ()
        return cls((int(found[1]), int(found[2]), int(found[3])), pre)

    @property
    def development(self) -> bool:
        """Return whether the content of the version may change, as with 0.0.0-dev."""
        return bool(self.pre) and self.pre[0] == "dev"

    def _key(self) -> tuple[object, ...]:
        marks = [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in self.pre]
        return self.numbers, not self.pre, marks

    def __lt__(self, other: Version) -> bool:
        return self._key() < other._key()

    def __str__(self) -> str:
        return ".".join(map(str, self.numbers)) + (f"-{'.'.join(self.pre)}" if self.pre else "")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter; `default` None means that a deployment must state a value, unless it is `optional`."""

    name: str
    description: str = ""
    default: Value = None
    type: FieldType = FieldType.ANY
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Dependency:
    """Another package to be linked with, `minimum` None meaning any version of it."""

    id: str
    minimum: Version | None = None


@dataclass(frozen=True, slots=True)
class ProgramLimits:
    """The limits of an instance in bytes, seconds and counts; program.proto has the bounds."""

    memory_bytes: int = 4 * MIB
    run_timeout_s: float = 10.0
    store_bytes: int = 64 * 1024
    timers: int = 32
    host_calls_per_second: int = 100
    log_bytes_per_minute: int = 64 * 1024


_MIN_LIMITS = ProgramLimits(MIB, 0.01, 1, 1, 1, 1)
_MAX_LIMITS = ProgramLimits(256 * MIB, 300.0, 192 * 1024, 256, 1000, MIB)


def limits(**given: float) -> ProgramLimits:
    """Return limits by field name, 0 for the default; raise InvalidPackageError, which states the bounds."""
    values: dict[str, float] = {}
    for name, value in given.items():
        low, high = getattr(_MIN_LIMITS, name), getattr(_MAX_LIMITS, name)
        if value and not low <= value <= high:
            raise InvalidPackageError(
                f"limits.{name} is {value:g}; {low:g} to {high:g} are allowed",
                limit=name,
                field=f"manifest.limits.{name}",
            )
        if value:
            values[name] = value
    return replace(ProgramLimits(), **values)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of a package, validated by `check_package`."""

    id: str
    version: Version
    language: Language
    name: str = ""
    description: str = ""
    author: str = ""
    create_time: datetime | None = None
    parameters: tuple[Parameter, ...] = ()
    requires: tuple[Requirement, ...] = ()
    checksum: str = ""
    dependencies: tuple[Dependency, ...] = ()
    limits: ProgramLimits = field(default_factory=ProgramLimits)
    auto_restart: bool = True
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Package:
    """A manifest and its source."""

    manifest: Manifest
    source: str

    @property
    def label(self) -> str:
        """Return the name in messages and of messages on the mesh: `blink.lua`."""
        return f"{self.manifest.id}.{'lua' if self.manifest.language is Language.LUA else 'scm'}"


def check_package(package: Package) -> Package:
    """The package with name and checksum filled in; raises InvalidPackageError, InvalidIdError, InvalidRequestError."""
    manifest, source = package.manifest, package.source
    ids.member_id(manifest.id)
    _check_texts(manifest)
    if not source.strip():
        raise InvalidPackageError("the source is empty", field="source")
    if "\0" in source:
        raise InvalidPackageError("the source holds a NUL byte, so it is not a text", field="source")
    body = source.encode("utf-8", "surrogatepass")
    if len(body) > MAX_SOURCE_BYTES:
        raise InvalidPackageError(
            f"the source is {len(body)} bytes, at most {MAX_SOURCE_BYTES} are allowed", field="source"
        )
    digest = hashlib.sha256(body).hexdigest()
    if manifest.checksum not in ("", digest):
        raise InvalidPackageError(
            f"the checksum of the source is {digest}, the manifest says {ids.printable(manifest.checksum, 64)}",
            hint="The source was changed after the manifest was made; make the manifest again.",
            field="manifest.checksum",
        )
    parameters = _checked_parameters(manifest)
    return Package(replace(manifest, checksum=digest, name=manifest.name or manifest.id, parameters=parameters), source)


def _check_texts(manifest: Manifest) -> None:
    for what, text, most in (
        ("name", manifest.name, MAX_NAME_BYTES),
        ("description", manifest.description, MAX_DESCRIPTION_BYTES),
        ("author", manifest.author, MAX_AUTHOR_BYTES),
    ):
        if len(text.encode("utf-8", "surrogatepass")) > most:
            raise InvalidPackageError(f"the {what} is longer than {most} bytes", field=f"manifest.{what}")
        if not text.replace("\n", " ").isprintable():
            raise InvalidPackageError(f"the {what} holds characters that cannot be printed", field=f"manifest.{what}")
    for what, count, most in (
        ("parameters", len(manifest.parameters), MAX_PARAMETERS),
        ("requirements", len(manifest.requires), MAX_REQUIREMENTS),
        ("dependencies", len(manifest.dependencies), MAX_DEPENDENCIES),
    ):
        if count > most:
            raise InvalidPackageError(f"{count} {what}, at most {most} are allowed")
    if abs(manifest.priority) > MAX_PRIORITY:
        raise InvalidPackageError(
            f"the priority is {manifest.priority}; -{MAX_PRIORITY} to {MAX_PRIORITY} are allowed",
            field="manifest.priority",
        )


def _checked_parameters(manifest: Manifest) -> tuple[Parameter, ...]:
    """Return the parameters, their defaults as the types that are declared."""
    names = [ids.member_id(parameter.name) for parameter in manifest.parameters]
    if len(set(names)) != len(names):
        raise InvalidPackageError("two parameters have one name", field="manifest.parameters")
    check({p.name: p.default for p in manifest.parameters if p.default is not None})
    for dependency in manifest.dependencies:
        if ids.member_id(dependency.id) == manifest.id:
            raise InvalidPackageError(f"{manifest.id} depends on itself", field="manifest.dependencies")
    return tuple(
        p if p.default is None else replace(p, default=_fitting(p, p.default, "the default of "))
        for p in manifest.parameters
    )


def _fitting(parameter: Parameter, value: Value, what: str = "") -> Value:
    try:
        return given_as(parameter.name, parameter.type, value)
    except TypeError as e:
        raise InvalidPackageError(f"{what}{e}", parameter=parameter.name) from e


def verify(package: Package) -> None:
    """Raise InvalidPackageError if the stored package is not the loaded one: it must not run."""
    digest = hashlib.sha256(package.source.encode("utf-8", "surrogatepass")).hexdigest()
    if digest != package.manifest.checksum:
        manifest = package.manifest
        raise InvalidPackageError(
            f"{manifest.id} {manifest.version} has the checksum {digest}, {manifest.checksum} was loaded",
            hint="Its record was changed: unload this version and load it again.",
        )


def arguments(manifest: Manifest, given: Mapping[str, Value]) -> dict[str, Value]:
    """Return the program's `args`; raise InvalidPackageError if one is missing or undeclared."""
    declared = {parameter.name: parameter.default for parameter in manifest.parameters}
    if len(given) > MAX_ARGUMENTS:
        raise InvalidPackageError(f"{len(given)} arguments, at most {MAX_ARGUMENTS} are allowed", field="arguments")
    unknown = sorted(set(given) - set(declared)) if declared else []
    if unknown:
        has = ", ".join(sorted(declared))
        raise InvalidPackageError(
            f"{manifest.id} has no parameter {ids.printable(unknown[0])}; it has {has}", field="arguments"
        )
    whole = {name: given.get(name, default) for name, default in declared.items()} | dict(given)
    optional = {parameter.name for parameter in manifest.parameters if parameter.optional}
    missing = sorted(name for name, value in whole.items() if value is None and name not in optional)
    if missing:
        raise InvalidPackageError(
            f"the parameter {missing[0]} of {manifest.id} has no default; state it", field="arguments"
        )
    check(whole)
    by_name = {parameter.name: parameter for parameter in manifest.parameters}
    given_or_default = {name: value for name, value in whole.items() if value is not None}
    return {name: _fitting(by_name[name], value) if by_name else value for name, value in given_or_default.items()}
