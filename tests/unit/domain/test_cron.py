"""Cron expressions: meaning, validation, and the next due minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import cron
from services.domain.errors import InvalidRequestError

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)  # a Sunday


def after(expression: str, moment: datetime = NOON) -> str:
    found = cron.parse(expression).next_after(moment)
    assert found is not None
    return found.strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("* * * * *", "2026-03-01 12:01"),
        ("0 * * * *", "2026-03-01 13:00"),
        ("0 */5 * * *", "2026-03-01 15:00"),
        ("*/15 * * * *", "2026-03-01 12:15"),
        ("0 12 * * *", "2026-03-02 12:00"),
        ("30 6 * * mon-fri", "2026-03-02 06:30"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
        ("0 0 31 * *", "2026-03-31 00:00"),
        ("0 0 1 jan *", "2027-01-01 00:00"),
        ("0 0 13 * fri", "2026-03-06 00:00"),
        ("0 0 */2 * 1", "2026-03-09 00:00"),
        ("0 0 * * 7", "2026-03-08 00:00"),
        ("5-10/5,50 8 * * *", "2026-03-02 08:05"),
        ("59 23 31 12 *", "2026-12-31 23:59"),
        ("@weekly", "2026-03-08 00:00"),
    ],
)
def test_the_next_minute_that_is_due(expression: str, expected: str) -> None:
    assert after(expression) == expected


def test_time_is_utc_whatever_the_zone_of_the_moment() -> None:
    berlin = timezone(timedelta(hours=1))
    assert after("0 13 * * *", NOON.astimezone(berlin)) == "2026-03-01 13:00"


def test_seconds_do_not_make_it_due_twice() -> None:
    assert after("* * * * *", NOON + timedelta(seconds=59, microseconds=999_999)) == "2026-03-01 12:01"


@pytest.mark.parametrize(
    "expression",
    [
        *("", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *"),
        *("* * * * 8", "5-1 * * * *", "*/0 * * * *", "a * * * *", "1- * * * *", "-1 * * * *", "*-5 * * * *"),
        *(
            "0 0 30 2 *",
            "0 0 31 4,6 *",
            "@reboot",
            "١ * * * *",
            "99999999999999999999 * * * *",
            "* " * 1000,
            "1,,2 * * * *",
        ),
    ],
)
def test_invalid_expression_is_refused(expression: str) -> None:
    with pytest.raises(InvalidRequestError):
        cron.parse(expression)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 */5 * * *", "every five hours"),
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every five minutes"),
        ("0 * * * *", "every hour"),
        ("@daily", "at 00:00 UTC"),
        ("30 6 * * mon-fri", "at 06:30 UTC on Monday to Friday"),
        ("0 8,20 * * *", "at 08:00 and 20:00 UTC"),
        ("15 * * * *", "at minute 15 of every hour"),
        ("*/10 9-17 * * *", "every ten minutes of the hours 9 to 17 UTC"),
        ("0 0 1 */3 *", "at 00:00 UTC on day 1 of the month in January, April, July and October"),
        ("0 0 13 * fri", "at 00:00 UTC on day 13 of the month or on Friday"),
        ("5 */2 * * *", "at minute 5 of every second hour"),
    ],
)
def test_in_words(expression: str, words: str) -> None:
    assert cron.in_words(expression) == words


def _numbers(low: int, high: int) -> st.SearchStrategy[str]:
    one = st.integers(low, high)
    spans = st.tuples(one, one).map(lambda pair: f"{min(pair)}-{max(pair)}")
    return st.one_of(st.just("*"), one.map(str), spans, st.integers(1, high).map(lambda n: f"*/{n}"))


@given(
    st.tuples(_numbers(0, 59), _numbers(0, 23), _numbers(1, 28), _numbers(1, 12), _numbers(0, 7)).map(" ".join),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(lambda t: t.replace(tzinfo=UTC)),
)
def test_due_minutes_go_forward_and_meet_every_field(expression: str, moment: datetime) -> None:
    parsed = cron.parse(expression)
    found = parsed.next_after(moment)
    if found is None:  # a day of the month that is never that day of the week within the years that are looked at
        assert parsed.day.values != cron.parse("* * * * *").day.values
        return
    assert found > moment
    assert found.minute in parsed.minute.values
    assert found.hour in parsed.hour.values
    assert found.month in parsed.month.values
    assert cron.in_words(parsed)
