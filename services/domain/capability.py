"""Capabilities of a device, after the interaction affordances of W3C WoT Thing Description 1.1, section 5.3.

Owns the types and `check`, the rules of protos/yggdrasil/common/v1/capability.proto. What is allowed is in the policy,
what was agreed in the contract.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.domain import ids, ucum
from services.domain.errors import InvalidIdError, MalformedCapabilityError
from services.domain.values import INT_MAX, INT_MIN

MAX_CAPABILITIES = 32
"""Capabilities of a device."""
MAX_MEMBERS = 16
"""Properties, actions or events of a capability, each."""
MAX_PARAMETERS = 8
"""Arguments, results or fields of a member, each."""
MAX_DATA_BYTES = 64
"""Length of a string or bytes value, so that devices need no heap."""


class ValueType(enum.Enum):
    """The type of a value on the device link."""

    BOOL = "bool"
    INT = "int"
    DOUBLE = "double"
    STRING = "string"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Schema:
    """Type, UCUM unit and bounds of one value; `max_length` in bytes, for strings and bytes."""

    type: ValueType
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    max_length: int = MAX_DATA_BYTES


@dataclass(frozen=True, slots=True)
class Parameter:
    """One named value: an argument, a result, or a field of an event."""

    name: str
    schema: Schema
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Property:
    """A state that can be read, written or observed."""

    name: str
    schema: Schema
    readable: bool = True
    writable: bool = False
    observable: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """An operation of the device; a streamed action returns more than one result."""

    name: str
    arguments: tuple[Parameter, ...] = ()
    results: tuple[Parameter, ...] = ()
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """A notification that the device sends unasked."""

    name: str
    fields: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True)
class Capability:
    """A unit of functionality with its own id: properties, actions and events."""

    id: str
    type: str
    version: int
    properties: tuple[Property, ...] = ()
    actions: tuple[Action, ...] = ()
    events: tuple[Event, ...] = ()


def check(capability: Capability) -> None:
    """Raise MalformedCapabilityError, naming the member, if the capability breaks a rule."""
    try:
        ids.member_id(capability.id)
        ids.semantic_type(capability.type)
        if capability.version < 1:
            raise MalformedCapabilityError(f"{capability.id}: version is {capability.version}, at least 1 is required")
        _check_members(capability.id, (*capability.properties,), "properties")
        _check_members(capability.id, (*capability.actions,), "actions")
        _check_members(capability.id, (*capability.events,), "events")
        for prop in capability.properties:
            where = f"{capability.id}.{prop.name}"
            if not (prop.readable or prop.writable or prop.observable):
                raise MalformedCapabilityError(f"{where} is neither readable, writable nor observable")
            _check_schema(where, prop.schema)
        for action in capability.actions:
            _check_parameters(f"{capability.id}.{action.name}", action.arguments)
            _check_parameters(f"{capability.id}.{action.name}", action.results)
        for event in capability.events:
            _check_parameters(f"{capability.id}.{event.name}", event.fields)
    except InvalidIdError as e:
        raise MalformedCapabilityError(e.message, hint=e.hint) from e


def _check_members(where: str, members: Sequence[Property | Action | Event], what: str) -> None:
    if len(members) > MAX_MEMBERS:
        raise MalformedCapabilityError(f"{where} has {len(members)} {what}, at most {MAX_MEMBERS} are allowed")
    _check_names(where, (member.name for member in members))


def _check_parameters(where: str, parameters: Sequence[Parameter]) -> None:
    if len(parameters) > MAX_PARAMETERS:
        raise MalformedCapabilityError(f"{where} has {len(parameters)} values, at most {MAX_PARAMETERS} are allowed")
    _check_names(where, (parameter.name for parameter in parameters))
    for parameter in parameters:
        _check_schema(f"{where}.{parameter.name}", parameter.schema)


def _check_names(where: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        ids.member_id(name)
        if name in seen:
            raise MalformedCapabilityError(f"{where} has {name} twice")
        seen.add(name)


def _check_schema(where: str, schema: Schema) -> None:
    if schema.unit and not ucum.is_unit(schema.unit):
        unit = ids.printable(schema.unit, 20)
        raise MalformedCapabilityError(
            f"{where}: {unit!r} is not a UCUM unit", hint=f"Examples: Cel, %, ms, m/s2; at most {ucum.MAX_BYTES} bytes."
        )
    if not 1 <= schema.max_length <= MAX_DATA_BYTES:
        raise MalformedCapabilityError(f"{where}: max_length is {schema.max_length}, 1 to {MAX_DATA_BYTES} are allowed")
    bounds = [b for b in (schema.minimum, schema.maximum) if b is not None]
    if bounds and schema.type not in (ValueType.INT, ValueType.DOUBLE):
        raise MalformedCapabilityError(f"{where}: only int and double have bounds")
    if any(not math.isfinite(b) for b in bounds) or (len(bounds) == 2 and bounds[0] > bounds[1]):
        raise MalformedCapabilityError(f"{where}: the bounds are {schema.minimum} and {schema.maximum}")
    if schema.type is ValueType.INT and any(b != int(b) or not INT_MIN <= int(b) <= INT_MAX for b in bounds):
        raise MalformedCapabilityError(f"{where}: the bounds of an int must be whole and fit 64 bits")
