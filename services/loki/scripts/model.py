"""The model of registered scripts, and checks of arguments and results against its declarations. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.domain import ids
from services.domain.errors import InvalidRequestError
from services.domain.requirements import Requirement, parse_requirement
from services.domain.values import Value, a_type
from services.loki.errors import InvalidScriptError
from services.loki.fields import FieldType, fitting, given_as
from services.loki.model import DEFAULT_LIMITS, Language, Limits
from services.loki.scripts.errors import UndeclaredResultError

MAX_FIELDS, MAX_REQUIREMENTS = 32, 16
MAX_DESCRIPTION_BYTES, MAX_FIELD_DESCRIPTION_BYTES = 1000, 500
RESERVED = frozenset(("device_id", "logs", "duration"))
SUFFIX = {Language.LUA: "lua", Language.SCHEME: "scm"}


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter or a result."""

    name: str
    type: FieldType = FieldType.ANY
    description: str = ""
    optional: bool = False

    def fitting(self, value: Value) -> Value:
        """Return the value as this type; raise TypeError if it is another."""
        return fitting(self.name, self.type, value)


@dataclass(frozen=True, slots=True)
class RegisteredScript:
    """A script under a name, checked by `registered`. `revision` is 0 until it is kept; times are UTC."""

    name: str
    language: Language
    source: str
    description: str = ""
    parameters: tuple[Field, ...] = ()
    results: tuple[Field, ...] = ()
    requires: tuple[str, ...] = ()
    limits: Limits = DEFAULT_LIMITS
    revision: int = 0
    create_time: datetime | None = None
    update_time: datetime | None = None
    author: str = ""

    @property
    def file(self) -> str:
        """Its name in messages: `blink.lua`."""
        return f"{self.name}.{SUFFIX[self.language]}"

    def requirements(self) -> tuple[Requirement, ...]:
        """`requires`, parsed."""
        return tuple(parse_requirement(text) for text in self.requires)

    def arguments(self, given: Mapping[str, Value]) -> dict[str, Value]:
        """Return the run's arguments from the caller's; raise InvalidRequestError for undeclared or mistyped ones."""
        names = [parameter.name for parameter in self.parameters]
        for name in given:
            if name not in names:
                known = ", ".join(names) or "none"
                raise InvalidRequestError(
                    f"{self.name} has no parameter {ids.printable(name)}; it has {known}", field="arguments"
                )
        fitted = {}
        for parameter in self.parameters:
            value = given.get(parameter.name)
            if value is None and not parameter.optional:
                raise InvalidRequestError(
                    f"{self.name} needs {parameter.name}", parameter=parameter.name, field=f"arguments.{parameter.name}"
                )
            if value is not None:
                try:
                    fitted[parameter.name] = given_as(parameter.name, parameter.type, value)
                except TypeError as e:
                    raise InvalidRequestError(
                        str(e), parameter=parameter.name, field=f"arguments.{parameter.name}"
                    ) from e
        return fitted

    def result(self, value: Value) -> dict[str, Value]:
        """Return a run's results by their declared names; raise UndeclaredResultError."""
        if not self.results:
            return {}
        by_name = value if isinstance(value, dict) else {self.results[0].name: value}
        if len(self.results) > 1 and not isinstance(value, dict):
            raise UndeclaredResultError(f"{self.name} returned {a_type(value)}, not a map of its results")
        fitted = {}
        for field in self.results:
            found = by_name.get(field.name)
            if found is None and not field.optional:
                raise UndeclaredResultError(f"{self.name} returned no {field.name}")
            if found is not None:
                try:
                    fitted[field.name] = field.fitting(found)
                except TypeError as e:
                    raise UndeclaredResultError(f"{self.name} returned an undeclared result: {e}") from e
        return fitted


def registered(script: RegisteredScript) -> RegisteredScript:
    """Return the script, if it can be registered; raise InvalidScriptError, InvalidIdError or InvalidRequestError."""
    ids.member_id(script.name)
    _bounded("the description", script.description, MAX_DESCRIPTION_BYTES)
    for what, fields in (("parameters", script.parameters), ("results", script.results)):
        _check_fields(what, fields)
    if len(script.requires) > MAX_REQUIREMENTS:
        raise InvalidScriptError(
            f"{len(script.requires)} requirements, at most {MAX_REQUIREMENTS} are allowed", field="script.requires"
        )
    script.requirements()
    return script


def _check_fields(what: str, fields: Sequence[Field]) -> None:
    if len(fields) > MAX_FIELDS:
        raise InvalidScriptError(f"{len(fields)} {what}, at most {MAX_FIELDS} are allowed")
    seen = set()
    for field in fields:
        ids.member_id(field.name)
        if field.name in RESERVED or field.name in seen:
            why = "stands twice among" if field.name in seen else "is a name of the request's own, not for"
            raise InvalidScriptError(f"{field.name} {why} the {what}")
        seen.add(field.name)
        _bounded(f"the description of {field.name}", field.description, MAX_FIELD_DESCRIPTION_BYTES)


def _bounded(what: str, text: str, size: int) -> None:
    if len(text.encode()) > size:
        raise InvalidScriptError(f"{what} is longer than {size} bytes")
