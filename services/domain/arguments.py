"""Checks values against the schemas of a contract, and says exactly what would be accepted.

Pure. The errors are what a person reads when a call is refused, so they name the argument, the value and the bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from services.domain import ids, units
from services.domain.capability import Parameter, Schema, ValueType
from services.domain.errors import ArgumentError
from services.domain.values import INT_MAX, INT_MIN, Value, is_text, text, type_name, whole


def check_arguments(where: str, parameters: Sequence[Parameter], given: Mapping[str, Value]) -> dict[str, Value]:
    """Returns the arguments without units, integers widened to doubles, and whole doubles made integers, where wanted.

    `where` is `capability.action`, for messages. Raises ArgumentError for one that is unknown, missing, of the
    wrong type or out of bounds.
    """
    names = [p.name for p in parameters]
    for name in given:
        if name not in names:
            raise ArgumentError(f"{where} has no argument {name}", hint=_takes(where, parameters), argument=name)
    for parameter in parameters:
        if parameter.name not in given and not parameter.optional:
            raise ArgumentError(
                f"{where} needs {parameter.name}", hint=_takes(where, parameters), argument=parameter.name
            )
    return {p.name: check_given(p.name, p.schema, given[p.name]) for p in parameters if p.name in given}


def check_given(name: str, schema: Schema, value: Value) -> Value:
    """As `check_value`, for what a caller gives: a number may carry its unit, `40%` or `{"value": 40, "unit": "%"}`.

    The unit must be the contract's; it is not kept.
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
    """Returns the value, an integer widened where a double is wanted, a whole double as an integer where one is wanted.

    `exact`: a double is never an integer, as for what a device sends. Raises ArgumentError if it does not fit.
    """
    if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
        raise ArgumentError(f"{name} does not fit a signed 64-bit integer", argument=name)
    if schema.type is ValueType.DOUBLE and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    elif schema.type is ValueType.INT and isinstance(value, float) and not exact:
        value = whole(value)
    wanted = schema.type.value
    if type_name(value) != wanted:
        got = type_name(value)
        raise ArgumentError(
            f"{name} is {text(value)!s:.64} ({got}), the contract wants {describe(schema)}",
            hint="Round it to a whole number." if wanted == "int" and got == "double" else "",
            argument=name,
            wanted=wanted,
        )
    if isinstance(value, str) and not is_text(value):
        raise ArgumentError(f"{name} is not valid UTF-8 text", argument=name)
    if isinstance(value, str) and "\0" in value:  # a device in C would see the text cut short
        raise ArgumentError(f"{name} holds a zero byte, which no text on the link may", argument=name)
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
        raise ArgumentError(f"{name} is {value}, the contract wants a finite number", argument=name)
    low, high = schema.minimum, schema.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        raise ArgumentError(
            f"{name} is {value}, the contract allows {bounds(schema)}",
            argument=name,
            minimum="" if low is None else low,
            maximum="" if high is None else high,
        )


def bounds(schema: Schema) -> str:
    """The bounds as people write them: `50 to 5000 ms`, `at least 0`, or empty."""
    low, high = schema.minimum, schema.maximum
    unit = f" {schema.unit}" if schema.unit else ""
    if low is not None and high is not None:
        return f"{_number(low)} to {_number(high)}{unit}"
    if low is not None:
        return f"at least {_number(low)}{unit}"
    return f"at most {_number(high)}{unit}" if high is not None else ""


def _number(bound: float) -> str:
    """Exactly, and without a fraction where there is none."""
    return str(int(bound)) if float(bound).is_integer() and abs(bound) <= 2**53 else repr(bound)


def describe(schema: Schema) -> str:
    """The schema in a few words: `int, 50 to 5000 ms`."""
    limits = bounds(schema)
    if not limits and schema.unit:
        limits = schema.unit
    return f"{schema.type.value}, {limits}" if limits else schema.type.value


def _takes(where: str, parameters: Sequence[Parameter]) -> str:
    if not parameters:
        return f"{where} takes no arguments."
    listed = ", ".join(f"{p.name}{'?' if p.optional else ''} ({describe(p.schema)})" for p in parameters)
    return f"{where} takes {listed}."
