"""Checks values against the schemas of a contract and states exactly which values are accepted.

Pure. People read these errors when a call is rejected, so they name the argument, the value and the bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from services.domain import ids, units
from services.domain.capability import Parameter, Schema, ValueType
from services.domain.errors import ArgumentError
from services.domain.values import INT_MAX, INT_MIN, Value, is_text, text, type_name, whole


def check_arguments(where: str, parameters: Sequence[Parameter], given: Mapping[str, Value]) -> dict[str, Value]:
    """Return the arguments without units, with integers and whole doubles converted to the type of the schema.

    `where` is `capability.action`, for messages. Raises ArgumentError for an argument that is unknown, missing, of the
    wrong type or out of bounds.
    """
    names = [p.name for p in parameters]
    for name in given:
        if name not in names:
            raise ArgumentError(f"{where} has no argument {name}", hint=_takes(where, parameters), argument=name)
    for parameter in parameters:
        if parameter.name not in given and not parameter.optional:
            raise ArgumentError(
                f"{where} requires {parameter.name}", hint=_takes(where, parameters), argument=parameter.name
            )
    return {p.name: check_given(p.name, p.schema, given[p.name]) for p in parameters if p.name in given}


def check_given(name: str, schema: Schema, value: Value) -> Value:
    """Check a caller's value as `check_value` does; a number may have its unit, `40%` or `{"value": 40, "unit": "%"}`.

    The unit must be the contract's; the returned value has none.
    """
    found = units.split(value) if schema.type in (ValueType.INT, ValueType.DOUBLE) or isinstance(value, dict) else None
    if found is None:
        return check_value(name, schema, value)
    number, unit = found
    if unit and unit != schema.unit:
        raise ArgumentError(
            f"{name} has the unit {ids.printable(unit, 20)!r}, the contract has {schema.unit or 'none'!r}",
            hint="Units are not converted: write the number in the contract's unit, with it or without.",
            argument=name,
            unit=schema.unit,
        )
    return check_value(name, schema, number)


def check_value(name: str, schema: Schema, value: Value, *, exact: bool = False) -> Value:
    """Return the value, with an integer or a whole double converted to the type of the schema.

    With `exact`, as for values from a device, a double is never converted to an integer. Raises ArgumentError if the
    value does not match the schema.
    """
    if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
        raise ArgumentError(f"{name} does not fit a signed 64-bit integer", argument=name)
    if schema.type is ValueType.DOUBLE and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    elif schema.type is ValueType.INT and isinstance(value, float) and not exact:
        value = whole(value)
    expected = schema.type.value
    if type_name(value) != expected:
        got = type_name(value)
        raise ArgumentError(
            f"{name} is {text(value)!s:.64} ({got}), the contract requires {describe(schema)}",
            hint="Round it to a whole number." if expected == "int" and got == "double" else "",
            argument=name,
            wanted=expected,
        )
    if isinstance(value, str) and not is_text(value):
        raise ArgumentError(f"{name} is not valid UTF-8 text", argument=name)
    if isinstance(value, str) and "\0" in value:  # firmware in C would truncate the text
        raise ArgumentError(f"{name} contains a zero byte, which is not allowed in text", argument=name)
    if isinstance(value, str | bytes):
        _check_length(name, schema, len(value.encode() if isinstance(value, str) else value))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_bounds(name, schema, value)
    return value


def _check_length(name: str, schema: Schema, length: int) -> None:
    if length > schema.max_length:
        raise ArgumentError(f"{name} is {length} bytes, the contract allows {schema.max_length}", argument=name)


def _check_bounds(name: str, schema: Schema, value: float) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ArgumentError(f"{name} is {value}, the contract requires a finite number", argument=name)
    low, high = schema.minimum, schema.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        raise ArgumentError(
            f"{name} is {value}, the contract allows {bounds(schema)}",
            argument=name,
            minimum="" if low is None else low,
            maximum="" if high is None else high,
        )


def bounds(schema: Schema) -> str:
    """Return the bounds for people: `50 to 5000 ms`, `at least 0`, or "" if there are none."""
    low, high = schema.minimum, schema.maximum
    unit = f" {schema.unit}" if schema.unit else ""
    if low is not None and high is not None:
        return f"{_number(low)} to {_number(high)}{unit}"
    if low is not None:
        return f"at least {_number(low)}{unit}"
    return f"at most {_number(high)}{unit}" if high is not None else ""


def _number(bound: float) -> str:
    """Return the exact number, without a decimal point if it is whole."""
    return str(int(bound)) if float(bound).is_integer() and abs(bound) <= 2**53 else repr(bound)


def describe(schema: Schema) -> str:
    """Return a short description of the schema: `int, 50 to 5000 ms`."""
    limits = bounds(schema)
    if not limits and schema.unit:
        limits = schema.unit
    return f"{schema.type.value}, {limits}" if limits else schema.type.value


def _takes(where: str, parameters: Sequence[Parameter]) -> str:
    if not parameters:
        return f"{where} takes no arguments."
    listed = ", ".join(f"{p.name}{'?' if p.optional else ''} ({describe(p.schema)})" for p in parameters)
    return f"{where} takes {listed}."
