"""Schedules in words, so that "0 */5 * * *" is not taken for every five minutes."""

from __future__ import annotations

import re

from services.domain import cron
from services.domain.errors import YggError
from services.loki.lint.findings import Finding, Severity

_HOURS = re.compile(r"\s*\d+\s+\*/(\d+)\s+\*\s+\*\s+\*\s*\Z")


def schedule(text: str, line: int, column: int) -> Finding:
    """Return the meaning of a schedule, or why it is invalid."""
    try:
        message = f'"{text}" means {cron.in_words(text)}.'
    except YggError as e:
        return Finding(line, column, "CRON", e.message)
    hours = _HOURS.match(text)
    if hours:  # with the fields in the wrong order, hours are written for minutes
        message += f' Every {cron.in_words(f"*/{hours[1]} * * * *").removeprefix("every ")} is "*/{hours[1]} * * * *".'
        return Finding(line, column, "CRON", message, Severity.WARNING)
    return Finding(line, column, "CRON", message, Severity.NOTE)
