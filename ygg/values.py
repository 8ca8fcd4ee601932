"""Convert values between the command line, JSON and the mesh: `times=3` in, `23.5 °C` out.

Owns the notation of values. The bridge validates against the contract: text that does not parse as the declared type
is sent with a guessed type, and the bridge's error names the declared one.

    number = [sign] digits | [sign] ( "0x" | "0o" | "0b" ) digits | [sign] decimal [exponent]

The declared type decides. Leading zeros are ignored: 03 is 3. An int may be written as a decimal: 30.0 is 30. A string
stays as typed: 007 is 007. Without a declared type the type is guessed, and quotes force a string: '"007"'.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping

from services.domain import units
from services.domain.capability import Parameter, Schema, ValueType
from services.domain.values import INT_MAX, INT_MIN, Value, text
from ygg import jsontext
from ygg.exits import UsageError
from ygg.output import safe

_WHOLE = re.compile(r"[+-]?(?:[0-9]+|0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+)")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_TRUE, _FALSE = frozenset({"true", "on", "yes"}), frozenset({"false", "off", "no"})


def assignments(words: Iterable[str]) -> dict[str, str]:
    """Parse `["times=3", "x="]` into a dict. Raises UsageError for a word without `=` and for a repeated name."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"invalid argument {safe(word)!r}", hint="Expected NAME=VALUE, such as times=3.")
        if name in found:
            raise UsageError(f"{safe(name)} is given twice")
        found[name] = value
    return found


def member(word: str) -> tuple[str, str]:
    """Split `led0.blink` into capability and member. Raises UsageError."""
    capability, dot, name = word.partition(".")
    if not (capability and dot and name) or "." in name:
        raise UsageError(f"invalid name {safe(word)!r}", hint="Expected CAPABILITY.NAME, such as led0.blink.")
    return capability, name


def arguments(given: Mapping[str, str], parameters: Iterable[Parameter]) -> dict[str, Value]:
    """Parse the arguments of an action by their declared types."""
    schemas = {parameter.name: parameter.schema for parameter in parameters}
    return {name: parse(value, schemas.get(name)) for name, value in given.items()}


def parse(word: str, schema: Schema | None = None) -> Value:
    """Parse a word as the type of `schema`; guess the type without a schema or if the word does not fit it."""
    if schema is None:
        return guess(word)
    if schema.type is ValueType.STRING:
        return word
    if schema.type is ValueType.BOOL:
        return _bool(word)
    if schema.type is ValueType.BYTES:
        return _bytes(word)
    measured = units.split(word)
    if measured is not None and measured[1] == schema.unit:
        word = str(measured[0])  # another unit is sent unchanged, and the bridge's error names the declared one
    found = _number(word)
    if found is None:
        return guess(word)
    return _whole(word, found) if schema.type is ValueType.INT else _double(word, found)


def typed(word: str, of_type: str) -> Value:
    """Parse a word for a parameter; `of_type` is any or the name of a ValueType. Quoted words are JSON."""
    if of_type == "any" or word.startswith('"'):
        return guess(word)
    return parse(word, Schema(ValueType(of_type)))


def guess(word: str) -> Value:
    """Parse a word by its form: true, false, a number, JSON in brackets or quotes, otherwise a string."""
    if word in ("true", "false"):
        return word == "true"
    number = _number(word)
    if number is not None and INT_MIN <= number <= INT_MAX:
        return number
    if isinstance(number, float):
        return number
    if word[:1] in ("[", "{", '"'):
        return jsontext.to_value(jsontext.parse(word, safe(word)))
    return word


def to_json(value: Value) -> object:
    """Return the value as JSON data; bytes become `0x…`, NaN and infinities become strings."""
    if isinstance(value, bytes):
        return text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value


def show(value: Value, unit_code: str = "") -> str:
    """Return the value as printable text with its unit."""
    if isinstance(value, float):
        shown = f"{value:.6g}"
    elif isinstance(value, list | dict):
        shown = json.dumps(to_json(value), ensure_ascii=False)
    else:
        shown = text(value)
    shown = safe(shown, 2000)
    return f"{shown} {unit(unit_code)}" if unit_code else shown


def unit(code: str) -> str:
    """Return the display form of a UCUM code."""
    return safe(units.SHOWN.get(code, code), 15)


def _bool(word: str) -> Value:
    if word.lower() in _TRUE | _FALSE:
        return word.lower() in _TRUE
    return guess(word)


def _bytes(word: str) -> Value:
    try:
        return bytes.fromhex(word.removeprefix("0x"))
    except ValueError:
        return guess(word)


def _number(word: str) -> int | float | None:
    """Return the number a word denotes; None for anything else, such as `1_000`, ` 1` or `nan`."""
    if _WHOLE.fullmatch(word):
        try:
            return int(word, 0 if word.lstrip("+-")[1:2].isalpha() else 10)
        except ValueError:  # more digits than Python reads
            return None
    value = float(word) if _DECIMAL.fullmatch(word) else math.inf
    return value if math.isfinite(value) else None


def _whole(word: str, found: float) -> int | float:
    """Return an int if the number is whole; a fraction is sent unchanged, for the bridge to reject."""
    if isinstance(found, float) and not found.is_integer():
        return found
    if not INT_MIN <= found <= INT_MAX:
        raise UsageError(f"{safe(word, 60)} is out of range: an int is {INT_MIN} to {INT_MAX}")
    return int(found)


def _double(word: str, found: float) -> float:
    try:
        return float(found)
    except OverflowError:
        raise UsageError(f"{safe(word, 60)} is out of range for a double") from None
