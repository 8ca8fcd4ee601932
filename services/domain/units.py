"""Numbers with their unit, as people and scripts write them: `40%`, `23.5 °C`, `{"value": 40, "unit": "%"}`.

Pure. Owns how such a number is read; which unit is right is the contract's to say (`services.domain.arguments`).
"""

from __future__ import annotations

import re

from services.domain.values import Value

SHOWN = {"Cel": "°C", "[degF]": "°F", "deg": "°", "Ohm": "Ω", "m/s2": "m/s²"}
"""UCUM codes that people write otherwise."""
_CODES = {shown: code for code, shown in SHOWN.items()}
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WITH_UNIT = re.compile(rf"({_NUMBER.pattern})\s*([^\s0-9.+-].*)")


def code(text: str) -> str:
    """What people write as a UCUM code: `°C` is `Cel`."""
    return _CODES.get(text, text)


def split(value: Value) -> tuple[Value, str] | None:
    """A number and its UCUM code where `value` is a number with a unit (an empty code where none is given), else None.

    A map that has more than `value` and `unit`, or no text as its unit, is none.
    """
    if isinstance(value, dict):
        unit = value.get("unit", "")
        if "value" not in value or not set(value) <= {"value", "unit"} or not isinstance(unit, str):
            return None
        return value["value"], code(unit)
    if not isinstance(value, str) or len(value) > 64 or _NUMBER.fullmatch(value):
        return None
    found = _WITH_UNIT.fullmatch(value)
    return (_number(found[1]), code(found[2].strip())) if found else None


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("+-").isdigit() else float(text)
