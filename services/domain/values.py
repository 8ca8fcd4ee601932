"""Values as the mesh passes them: plain Python, checked.

The types are those of yggdrasil.common.v1.Value: None, bool, int (signed 64 bits), float, str, bytes, list, dict.
"""

from __future__ import annotations

from typing import TypeAlias

from services.domain.errors import InvalidRequestError

Value: TypeAlias = "bool | int | float | str | bytes | list[Value] | dict[str, Value] | None"

INT_MIN = -(2**63)
INT_MAX = 2**63 - 1
MAX_DEPTH = 16
"""Nesting of lists and maps, so that recursion is bounded."""


def type_name(value: Value) -> str:
    """Return the name for people: `bool`, `int`, `double`, `string`, `bytes`, `list`, `map` or `nothing`."""
    names = {bool: "bool", int: "int", float: "double", str: "string", bytes: "bytes", list: "list", dict: "map"}
    return names.get(type(value), "nothing")


def a_type(value: Value) -> str:
    """Return the name with its article: `an int`, `a string`, `nothing`."""
    name = type_name(value)
    return name if name == "nothing" else f"an {name}" if name == "int" else f"a {name}"


def check(value: Value, depth: int = 0) -> Value:
    """Return `value` if it fits yggdrasil.common.v1.Value, at most MAX_DEPTH deep; raises InvalidRequestError."""
    if depth > MAX_DEPTH:
        raise InvalidRequestError(f"a value is nested deeper than {MAX_DEPTH}")
    if isinstance(value, int) and not isinstance(value, bool) and not INT_MIN <= value <= INT_MAX:
        raise InvalidRequestError(f"{value} does not fit a signed 64-bit integer")
    if isinstance(value, str) and not is_text(value):
        raise InvalidRequestError("a string is not valid UTF-8 text")
    if isinstance(value, list):
        for item in value:
            check(item, depth + 1)
    if isinstance(value, dict):
        for key, item in value.items():
            check(key, depth + 1)
            check(item, depth + 1)
    return value


def whole(value: float) -> float:
    """Return a whole double as an integer; the double itself if it has a fraction or does not fit 64 bits."""
    return int(value) if value.is_integer() and INT_MIN <= value <= INT_MAX else value


def is_text(value: str) -> bool:
    """Return whether the text can be encoded as UTF-8; lone surrogates, which JSON accepts, cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def text(value: Value) -> str:
    """Return the value in one line, for messages and tables."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return "nothing" if value is None else str(value)
