"""Schedules in words, so that "0 */5 * * *" is not taken for every five minutes."""

from __future__ import annotations

import re

from services.domain import cron
from services.domain.errors import YggError
from services.loki.lint.findings import Finding, Severity

_HOURS = re.compile(r"\s*\d+\s+\*/(\d+)\s+\*\s+\*\s+\*\s*\Z")


def schedule(text: str, line: int, column: int) -> Finding:
    """What a schedule means, or why it is none."""
    try:
        told = f'"{text}" means {cron.in_words(text)}.'
    except YggError as e:
        return Finding(line, column, "CRON", e.message)
    hours = _HOURS.match(text)
    if hours:  # who reads the fields in the wrong order writes hours for minutes
        told += f' Every {cron.in_words(f"*/{hours[1]} * * * *").removeprefix("every ")} is "*/{hours[1]} * * * *".'
        return Finding(line, column, "CRON", told, Severity.WARNING)
    return Finding(line, column, "CRON", told, Severity.NOTE)
