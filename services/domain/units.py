"""Numbers with their unit, as people and scripts write them: `40%`, `23.5 °C`, `{"value": 40, "unit": "%"}`.

Pure. Owns the parsing of such numbers; `services.domain.arguments` checks the unit against the contract.
"""

from __future__ import annotations

import re

from services.domain.values import Value

SHOWN = {"Cel": "°C", "[degF]": "°F", "deg": "°", "Ohm": "Ω", "m/s2": "m/s²"}
"""UCUM codes of other common spellings."""
_CODES = {shown: code for code, shown in SHOWN.items()}
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WITH_UNIT = re.compile(rf"({_NUMBER.pattern})\s*([^\s0-9.+-].*)")


def code(text: str) -> str:
    """Return the UCUM code of a common spelling: `°C` is `Cel`."""
    return _CODES.get(text, text)


def split(value: Value) -> tuple[Value, str] | None:
    """Return a number and its UCUM code ("" without a unit), or None if `value` is not a number with an optional unit.

    A map must have `value`, may have `unit` as text, and has nothing else.
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
