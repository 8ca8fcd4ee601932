"""Typed text becomes a value of the contract's type, or of its apparent type."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.capability import Parameter, Schema, ValueType
from services.domain.values import Value
from ygg import values
from ygg.exits import UsageError


def wanted(kind: ValueType) -> Schema:
    return Schema(kind)


@pytest.mark.parametrize(
    ("kind", "word", "value"),
    [
        (ValueType.INT, "3", 3),
        (ValueType.INT, "-7", -7),
        (ValueType.INT, "0x10", 16),
        (ValueType.INT, "03", 3),
        (ValueType.INT, "-007", -7),
        (ValueType.INT, "30.0", 30),
        (ValueType.INT, "3e1", 30),
        (ValueType.INT, "0b11", 3),
        (ValueType.STRING, "007", "007"),
        (ValueType.STRING, "30.0", "30.0"),
        (ValueType.DOUBLE, "3", 3.0),
        (ValueType.DOUBLE, "03", 3.0),
        (ValueType.DOUBLE, "99999999999999999999", 1e20),
        (ValueType.DOUBLE, "2.5e1", 25.0),
        (ValueType.BOOL, "on", True),
        (ValueType.BOOL, "OFF", False),
        (ValueType.BOOL, "true", True),
        (ValueType.STRING, "3", "3"),
        (ValueType.STRING, "", ""),
        (ValueType.STRING, "[x", "[x"),
        (ValueType.BYTES, "0x00ff", b"\x00\xff"),
        (ValueType.BYTES, "00ff", b"\x00\xff"),
        # A misfit is sent with its apparent type: the bridge then reports the contract's type.
        (ValueType.INT, "2.5", 2.5),
        (ValueType.INT, "many", "many"),
        (ValueType.BOOL, "1", 1),
        (ValueType.BYTES, "xyz", "xyz"),
    ],
)
def test_words_are_read_by_the_expected_type(kind: ValueType, word: str, value: Value) -> None:
    found = values.parse(word, wanted(kind))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True),
        ("3", 3),
        ("3.0", 3.0),
        ("03", 3),
        ("-08", -8),
        ('"007"', "007"),
        ("hall", "hall"),
        ("", ""),
        ("[1, 2.5, [true]]", [1, 2.5, [True]]),
        ('{"a": {"b": null}}', {"a": {"b": None}}),
        ('"3"', "3"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("1_000", "1_000"),
        (" 1", " 1"),
        ("99999999999999999999", "99999999999999999999"),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_untyped_words_are_read_by_form(word: str, value: Value) -> None:
    found = values.guess(word)
    assert found == value
    assert type(found) is type(value)


def test_broken_json_is_reported() -> None:
    with pytest.raises(UsageError, match="is not valid JSON"):
        values.guess("[1,")


@given(st.text())
def test_no_word_breaks_the_reader(word: str) -> None:
    try:
        values.guess(word)
    except UsageError:
        assert word[:1] in ("[", "{", '"')


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_survive_the_way_in_and_out(number: int) -> None:
    assert values.parse(values.show(number), wanted(ValueType.INT)) == number


@pytest.mark.parametrize("word", ["9223372036854775808", "-9223372036854775809", "1e30", "9" * 400])
def test_a_number_too_large_for_an_int_is_named(word: str) -> None:
    with pytest.raises(UsageError, match="is out of range"):
        values.parse(word, wanted(ValueType.INT))


@pytest.mark.parametrize(
    "word",
    ["[99999999999999999999]", "[" * 5000 + "]" * 5000, "[" * 40 + "]" * 40, '"\\ud800"', "[NaN]", "[-Infinity]"],
)
def test_invalid_json_value_is_wrong_usage(word: str) -> None:
    with pytest.raises(UsageError):
        values.guess(word)


def test_arguments_take_their_types_by_name() -> None:
    parameters = [Parameter("label", wanted(ValueType.STRING)), Parameter("n", wanted(ValueType.INT))]
    found = values.arguments({"label": "3", "n": "3", "other": "3"}, parameters)
    assert found == {"label": "3", "n": 3, "other": 3}


@pytest.mark.parametrize("words", [["x"], ["=1"], ["a=1", "a=2"]])
def test_invalid_argument_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        values.assignments(words)


def test_a_value_may_hold_an_equals_sign() -> None:
    assert values.assignments(["a=b=c", "d="]) == {"a": "b=c", "d": ""}


@pytest.mark.parametrize("word", ["led0", "led0.", ".on", "a.b.c", ""])
def test_invalid_member_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        values.member(word)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(23.5, "Cel", "23.5 °C"), (True, "", "true"), (41.0, "%", "41 %"), (b"\x01", "", "0x01"), (None, "", "nothing")],
)
def test_values_read_as_people_write_them(value: Value, unit: str, shown: str) -> None:
    assert values.show(value, unit) == shown


def test_text_from_a_device_cannot_drive_the_terminal() -> None:
    assert values.show("\x1b[2Jboo\n") == "?[2Jboo?"


def test_json_has_no_numbers_that_json_lacks() -> None:
    assert values.to_json([math.nan, math.inf, b"\xff"]) == ["nan", "inf", "0xff"]
