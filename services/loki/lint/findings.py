"""A finding: a place in a text, its severity and its message."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Severity(enum.Enum):
    """The severity of a finding."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """Line and column are 1 and up, columns in characters; the rules are those of script.proto."""

    line: int
    column: int
    rule: str
    message: str
    severity: Severity = Severity.ERROR
