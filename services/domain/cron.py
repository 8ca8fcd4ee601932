"""Cron expressions of five fields in UTC: parsing, the next due time, and a description in words.

    minute hour day-of-month month day-of-week          0-59 0-23 1-31 1-12 0-7 (0 and 7 are Sunday)
    field   = part *( "," part )
    part    = ( "*" | value [ "-" value ] ) [ "/" step ]
    month and day-of-week may be named: jan..dec, sun..sat
    @hourly @daily @midnight @weekly @monthly @yearly @annually are the usual shorthands

As in cron(8), if both day fields are restricted, a day has to match only one of them. Pure; reads no clock. Source:
crontab(5) of ISC cron.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.domain import ids
from services.domain.errors import InvalidRequestError

MAX_TEXT = 200
"""Length of an expression, in characters."""
_YEARS_AHEAD = 9
"""29 February can be eight years away (1896, 1904), so an expression that is not due within nine years never is."""
HINT = "Five fields: minute hour day-of-month month day-of-week, such as 0 */5 * * * (every five hours)."
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_PART = re.compile(r"(?P<low>\*|[a-z0-9]+)(?:-(?P<high>[a-z0-9]+))?(?:/(?P<step>[0-9]{1,4}))?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    first: int = 0


_KINDS = (
    _Kind("minute", 0, 59),
    _Kind("hour", 0, 23),
    _Kind("day of the month", 1, 31),
    _Kind("month", 1, 12, _MONTHS, 1),
    _Kind("day of the week", 0, 7, _DAYS, 0),
)


@dataclass(frozen=True, slots=True)
class Field:
    """The values of one field; `any` if it begins with `*`, which the rule of the two day fields depends on."""

    values: frozenset[int]
    any: bool
    step: int = 1
    """Return the step of a single `*/n`, else 1."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression. `text` is its source."""

    text: str
    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first due minute strictly after `moment` (aware), in UTC, or None if it is never due."""
        at = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        last = at.year + _YEARS_AHEAD
        while at.year <= last:
            if at.month not in self.month.values:
                at = _next_month(at)
            elif not self._day_is_due(at):
                at = at.replace(hour=0, minute=0) + timedelta(days=1)
            elif at.hour not in self.hour.values:
                at = at.replace(minute=0) + timedelta(hours=1)
            elif at.minute not in self.minute.values:
                at += timedelta(minutes=1)
            else:
                return at
        return None

    def _day_is_due(self, at: datetime) -> bool:
        of_month, of_week = at.day in self.day.values, at.isoweekday() % 7 in self.weekday.values
        if self.day.any or self.weekday.any:
            return of_month and of_week
        return of_month or of_week


def parse(text: str) -> Cron:
    """Return the expression; raises InvalidRequestError that names the field, also if the expression is never due."""
    shown = ids.printable(text, 60)
    if len(text) > MAX_TEXT:
        raise InvalidRequestError(f"a cron expression of {len(text)} characters; the maximum is {MAX_TEXT}", hint=HINT)
    words = _NICKNAMES.get(text.strip().lower(), text).lower().split()
    if len(words) != len(_KINDS):
        raise InvalidRequestError(
            f"{shown!r} is not a cron expression: it has {len(words)} field{'s' * (len(words) != 1)}, not 5", hint=HINT
        )
    fields = [_field(word, kind, shown) for word, kind in zip(words, _KINDS, strict=True)]
    cron = Cron(text, *fields)
    if cron.next_after(datetime(2000, 1, 1, tzinfo=UTC)) is None:
        raise InvalidRequestError(f"{shown!r} is never due: none of its months has such a day", hint=HINT)
    return cron


def _field(text: str, kind: _Kind, shown: str) -> Field:
    values: set[int] = set()
    parts = text.split(",")
    for part in parts:
        values |= _part(part, kind, shown)
    if kind.high == 7:
        values = {value % 7 for value in values}
    alone = parts[0] if len(parts) == 1 and parts[0].startswith("*/") else "*/1"
    return Field(frozenset(values), text.startswith("*"), int(alone[2:]))


def _part(text: str, kind: _Kind, shown: str) -> set[int]:
    def fault(why: str) -> InvalidRequestError:
        return InvalidRequestError(f"{shown!r}: the {kind.name} {ids.printable(text, 40)!r} {why}", hint=HINT)

    def value(word: str) -> int:
        if word in kind.names:
            return kind.names.index(word) + kind.first
        if not word.isdigit() or not kind.low <= int(word[:4]) <= kind.high or len(word) > 4:
            raise fault(f"is not {kind.low} to {kind.high}")
        return int(word)

    found = _PART.match(text)
    if not found or (found["low"] == "*" and found["high"]):
        raise fault("is invalid")
    step = int(found["step"] or 1)
    if step == 0:
        raise fault("has a step of 0")
    if found["low"] == "*":
        low, high = kind.low, min(kind.high, 6) if kind.names == _DAYS else kind.high
    else:
        low = value(found["low"])
        high = value(found["high"]) if found["high"] else kind.high if found["step"] else low
    if low > high:
        raise fault("is reversed")
    return set(range(low, high + 1, step))


def _next_month(at: datetime) -> datetime:
    year, month = (at.year + 1, 1) if at.month == 12 else (at.year, at.month + 1)
    return at.replace(year=year, month=month, day=1, hour=0, minute=0)


_NUMBERS = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_MONTH_WORDS = (
    *("", "January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAY_WORDS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


def in_words(expression: str | Cron) -> str:
    """Return the expression in words, such as "every five hours" for `0 */5 * * *`. Raises as `parse` does."""
    cron = parse(expression) if isinstance(expression, str) else expression
    return " ".join(part for part in (_time_words(cron), _day_words(cron), _month_words(cron)) if part)


def _time_words(cron: Cron) -> str:
    minutes, hours = sorted(cron.minute.values), sorted(cron.hour.values)
    every_hour, on_the_hour = len(hours) == 24, minutes == [0]
    if on_the_hour and every_hour:
        return "every hour"
    if on_the_hour and cron.hour.step > 1:
        return f"every {_count(cron.hour.step)} hours"
    if len(minutes) <= 4 and len(hours) <= 4:
        return "at " + _joined([f"{hour:02}:{minute:02}" for hour in hours for minute in minutes]) + " UTC"
    if len(minutes) == 60:
        often = "every minute"
    elif cron.minute.step > 1:
        often = f"every {_count(cron.minute.step)} minutes"
    else:
        often = f"at minute{'s' * (len(minutes) > 1)} {_spans(minutes)}"
    if every_hour:
        return often if cron.minute.any else f"{often} of every hour"
    if cron.hour.step > 1:
        return f"{often} of every {_ordinal(cron.hour.step)} hour"
    return f"{often} of the hour{'s' * (len(hours) > 1)} {_spans(hours)} UTC"


def _day_words(cron: Cron) -> str:
    if cron.day.step > 1:
        of_month = f"on every {_ordinal(cron.day.step)} day of the month"
    else:
        of_month = "" if len(cron.day.values) == 31 else f"on day {_spans(sorted(cron.day.values))} of the month"
    weekdays = sorted(cron.weekday.values)
    of_week = "" if len(weekdays) == 7 else "on " + _spans(weekdays, _DAY_WORDS)
    joint = " and " if cron.day.any or cron.weekday.any else " or "
    if of_month and of_week:
        return of_month + joint + of_week
    return of_month or of_week


def _month_words(cron: Cron) -> str:
    return "" if len(cron.month.values) == 12 else "in " + _spans(sorted(cron.month.values), _MONTH_WORDS)


def _count(number: int) -> str:
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return "second" if number == 2 else "third" if number == 3 else f"{number}{suffix}"


def _spans(values: Sequence[int], names: Sequence[str] = ()) -> str:
    """Return [1, 2, 3, 4, 5, 7] as `1 to 5 and 7`; runs of three and more are joined."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    parts: list[str] = []
    for run in runs:
        words = [names[value] if names else str(value) for value in run]
        parts += [f"{words[0]} to {words[-1]}"] if len(run) > 2 else words
    return _joined(parts)


def _joined(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
