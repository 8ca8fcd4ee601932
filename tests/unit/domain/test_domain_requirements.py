"""Requirements and selectors: their grammar, who meets them, and where a fault is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import InvalidIdError, InvalidRequestError
from services.domain.requirements import Requirement, Selector, parse_requirement, parse_selector
from tests.fixtures.strategies import semantic_types

KEYS = st.sampled_from(["zone", "floor", "a.b/c", "x-1"])
VALUES = st.sampled_from(["", "hall", "2", "A_b.c-d"])


@given(semantic_types, semantic_types, st.integers(1, 10**9 - 1), st.integers(1, 10**9 - 1))
def test_who_meets_a_requirement(wanted: str, other: str, version: int, offered: int) -> None:
    assert parse_requirement(wanted).met_by(wanted, offered)
    assert parse_requirement(f"{wanted}@{version}").met_by(wanted, offered) is (offered == version)
    assert parse_requirement(f"{wanted}@{version}+").met_by(wanted, offered) is (offered >= version)
    assert parse_requirement(wanted).met_by(other, offered) is (wanted == other)
    assert parse_requirement(f"{wanted}@{version}").met_by(wanted, version)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sensor.temperature", Requirement("sensor.temperature", 1, None)),
        ("sensor.temperature@2", Requirement("sensor.temperature", 2, 2)),
        ("sensor.temperature@2+", Requirement("sensor.temperature", 2, None)),
    ],
)
def test_the_three_ways_to_write_one(text: str, found: Requirement) -> None:
    assert parse_requirement(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "sensor",
        "Sensor.temperature",
        "sensor.temperature@",
        "sensor.temperature@+",
        "sensor.temperature@0",
        "sensor.temperature@0+",
        "sensor.temperature@-1",
        "sensor.temperature@1.5",
        "sensor.temperature@1++",
        "sensor.temperature@1+ ",
        "sensor.temperature@1\n",
        "sensor.temperature@१",
        "sensor.temperature@1234567890",
        "sensor.temperature@1@2",
        "sensor.temperature@2 and more",
    ],
)
def test_what_is_no_requirement_is_refused(text: str) -> None:
    with pytest.raises((InvalidRequestError, InvalidIdError)):
        parse_requirement(text)


@given(st.dictionaries(KEYS, VALUES), st.dictionaries(KEYS, VALUES | st.none()))
def test_who_is_selected(labels: dict[str, str], wanted: dict[str, str | None]) -> None:
    text = ",".join(key if value is None else f"{key}={value}" for key, value in wanted.items())
    expected = all(key in labels and (value is None or labels[key] == value) for key, value in wanted.items())
    assert parse_selector(text).matches(labels) is expected


@given(st.dictionaries(KEYS, VALUES | st.none(), min_size=1), st.sampled_from(["", " ", "  "]))
def test_space_around_terms_means_nothing(wanted: dict[str, str | None], space: str) -> None:
    def written(gap: str) -> str:
        terms = (key if value is None else f"{key}{gap}={gap}{value}" for key, value in wanted.items())
        return gap + f"{gap},{gap}".join(terms) + gap

    assert parse_selector(written(space)) == parse_selector(written(""))


@pytest.mark.parametrize("text", ["", "  "])
def test_nothing_selects_all(text: str) -> None:
    assert parse_selector(text) == Selector()
    assert parse_selector(text).matches({})


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("Zone=hall", 0),
        ("zone=hall,Floor=2", 10),
        ("zone=hall,floor=2,=x", 18),
        ("zone=hall,", 10),
        (",zone=hall", 0),
        ("zone=hall,,floor=2", 10),
        ("zone=a=b", 0),
        ("a,b,c d", 4),
        ("zone=ha*l", 0),
    ],
)
def test_a_fault_is_told_with_its_position(text: str, position: int) -> None:
    with pytest.raises(InvalidRequestError, match=f"at position {position}:") as e:
        parse_selector(text)
    assert e.value.data["position"] == str(position)
    assert e.value.hint


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parse in (parse_selector, parse_requirement):
        try:
            parse(text)
        except (InvalidRequestError, InvalidIdError) as e:
            assert e.message.isprintable()
