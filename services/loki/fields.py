"""The types that scripts and programs declare for their parameters and results. Pure."""

from __future__ import annotations

import enum

from services.domain import units
from services.domain.values import Value, a_type, whole


class FieldType(enum.Enum):
    """The type of a parameter or result; ANY is every Value."""

    ANY = "any"
    BOOL = "bool"
    INT = "int"
    DOUBLE = "double"
    STRING = "string"
    BYTES = "bytes"

    @property
    def with_article(self) -> str:
        """`an int`."""
        return f"an {self.value}" if self.value[0] in "ai" else f"a {self.value}"


_PYTHON: dict[FieldType, type] = {
    FieldType.BOOL: bool,
    FieldType.INT: int,
    FieldType.DOUBLE: float,
    FieldType.STRING: str,
    FieldType.BYTES: bytes,
}


def fitting(name: str, kind: FieldType, value: Value) -> Value:
    """The value as this type; raises TypeError if it is another. An int is also a double, a whole double an int."""
    if kind is FieldType.DOUBLE and type(value) is int:
        return float(value)
    if kind is FieldType.INT and isinstance(value, float):
        value = whole(value)
    if kind is FieldType.BYTES and isinstance(value, str):
        return value.encode()  # Lua's strings that happen to be UTF-8
    if kind is not FieldType.ANY and type(value) is not _PYTHON[kind]:
        raise TypeError(f"{name} is {kind.with_article}, not {a_type(value)}")
    return value


def given_as(name: str, kind: FieldType, value: Value) -> Value:
    """Convert like `fitting`, for a caller's input: `40%` is 40 for a number. Any other unit raises TypeError.

    A parameter declares no unit to compare it with.
    """
    found = units.split(value) if kind in (FieldType.INT, FieldType.DOUBLE) else None
    if found is None:
        return fitting(name, kind, value)
    if found[1] not in ("", "%"):
        raise TypeError(f"{name} is {kind.with_article} and declares no unit; give the number alone")
    return fitting(name, kind, found[0])
