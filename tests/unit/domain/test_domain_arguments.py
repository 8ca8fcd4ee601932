"""Arguments against their contract: what fits passes as it is, what does not is refused with its name and bounds."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from services.domain.arguments import check_arguments, check_given, check_value, describe
from services.domain.capability import Parameter, Schema, ValueType
from services.domain.errors import ArgumentError, Code
from services.domain.values import INT_MAX, INT_MIN, Value
from tests.fixtures.strategies import schemas, values

BLINK = (
    Parameter("period_ms", Schema(ValueType.INT, "ms", 50, 5000)),
    Parameter("duty", Schema(ValueType.DOUBLE, "", 0, 1), optional=True),
)


def fits(schema: Schema, value: Value) -> bool:
    """The rules in words, apart from the code."""
    kinds: dict[ValueType, tuple[type, ...]] = {
        ValueType.BOOL: (bool,),
        ValueType.INT: (int, float),
        ValueType.DOUBLE: (int, float),
        ValueType.STRING: (str,),
        ValueType.BYTES: (bytes,),
    }
    if type(value) not in kinds[schema.type]:
        return False
    if isinstance(value, str) and "\0" in value:
        return False
    if isinstance(value, str | bytes):
        return len(value.encode() if isinstance(value, str) else value) <= schema.max_length
    if isinstance(value, bool):
        return True
    assert isinstance(value, int | float)
    if schema.type is ValueType.INT and isinstance(value, float):
        return math.isfinite(value) and value == math.floor(value) and within(schema, int(value))
    return within(schema, float(value) if schema.type is ValueType.DOUBLE else value)


def within(schema: Schema, number: float) -> bool:
    """Whether a number of the type is one that a message can carry, within the bounds."""
    if isinstance(number, int) and not INT_MIN <= number <= INT_MAX:
        return False
    low = -math.inf if schema.minimum is None else schema.minimum
    high = math.inf if schema.maximum is None else schema.maximum
    return math.isfinite(number) and low <= number <= high


@given(schemas(), values)
@example(Schema(ValueType.INT), True)
@example(Schema(ValueType.BOOL), 1)
@example(Schema(ValueType.DOUBLE), True)
@example(Schema(ValueType.INT), 40.0)
@example(Schema(ValueType.INT), 40.5)
@example(Schema(ValueType.INT), -0.0)
@example(Schema(ValueType.INT), 2.0**63)
@example(Schema(ValueType.INT), -(2.0**63))
@example(Schema(ValueType.INT), math.nan)
@example(Schema(ValueType.INT), math.inf)
@example(Schema(ValueType.DOUBLE), math.inf)
@example(Schema(ValueType.DOUBLE), math.nan)
@example(Schema(ValueType.STRING, max_length=2), "é")
@example(Schema(ValueType.STRING, max_length=1), "é")
@example(Schema(ValueType.INT, minimum=0, maximum=0), 0)
@example(Schema(ValueType.INT, minimum=5), 4)
@example(Schema(ValueType.INT, maximum=5), 6)
def test_only_matching_arguments_pass(schema: Schema, value: Value) -> None:
    try:
        passed = check_value("x", schema, value)
    except ArgumentError as e:
        assert not fits(schema, value), e.message
        assert e.code is Code.FAILED_PRECONDITION
        assert e.data["argument"] == "x"
        assert e.message.startswith("x ")
    else:
        assert fits(schema, value)
        make: Any = {ValueType.DOUBLE: float, ValueType.INT: int}.get(schema.type, lambda it: it)
        wanted = make(value)
        assert passed == wanted
        assert type(passed) is type(wanted)


@pytest.mark.parametrize("kind", [ValueType.INT, ValueType.DOUBLE])
@pytest.mark.parametrize("number", [INT_MAX + 1, INT_MIN - 1, 10**400])
def test_an_integer_that_no_message_can_carry_is_refused(kind: ValueType, number: int) -> None:
    with pytest.raises(ArgumentError, match="64-bit"):
        check_value("x", Schema(kind), number)


def test_text_that_no_message_can_carry_is_refused() -> None:
    with pytest.raises(ArgumentError, match="UTF-8"):
        check_value("x", Schema(ValueType.STRING), "\ud800")


@pytest.mark.parametrize("number", [40.0, -0.0, 2.0**53])
def test_a_double_of_a_device_is_never_an_int(number: float) -> None:
    assert check_value("x", Schema(ValueType.INT), number) == number
    with pytest.raises(ArgumentError, match="requires int"):
        check_value("x", Schema(ValueType.INT), number, exact=True)


def test_refusal_lists_available_arguments() -> None:
    with pytest.raises(ArgumentError) as e:
        check_arguments("led0.blink", BLINK, {"period": 100})
    assert e.value.message == "led0.blink has no argument period"
    assert e.value.hint == "led0.blink takes period_ms (int, 50 to 5000 ms), duty? (double, 0 to 1)."
    with pytest.raises(ArgumentError) as e:
        check_arguments("led0.blink", BLINK, {"duty": 0.5})
    assert e.value.message == "led0.blink requires period_ms"
    with pytest.raises(ArgumentError) as e:
        check_arguments("led0.blink", BLINK, {"period_ms": 49})
    assert e.value.message == "period_ms is 49, the contract allows 50 to 5000 ms"
    assert e.value.data == {"argument": "period_ms", "minimum": "50", "maximum": "5000"}
    with pytest.raises(ArgumentError) as e:
        check_arguments("led0.off", (), {"now": True})
    assert e.value.hint == "led0.off takes no arguments."


def test_optional_arguments_may_be_left_out_and_integers_widen() -> None:
    assert check_arguments("led0.blink", BLINK, {"period_ms": 100}) == {"period_ms": 100}
    passed = check_arguments("led0.blink", BLINK, {"duty": 1, "period_ms": 50})
    assert passed == {"period_ms": 50, "duty": 1.0}
    assert type(passed["duty"]) is float
    assert list(passed) == ["period_ms", "duty"]


@given(st.dictionaries(st.sampled_from(["period_ms", "duty", "other"]), values))
def test_only_the_arguments_of_the_contract_pass(given_: dict[str, Value]) -> None:
    wanted = (
        "period_ms" in given_
        and "other" not in given_
        and all(fits(p.schema, given_[p.name]) for p in BLINK if p.name in given_)
    )
    try:
        check_arguments("led0.blink", BLINK, given_)
    except ArgumentError:
        assert not wanted
    else:
        assert wanted


@given(schemas(), values)
def test_a_refusal_is_short_however_long_the_value(schema: Schema, value: Value) -> None:
    long = value * 1000 if isinstance(value, str | bytes | list) else value
    assume(not fits(schema, long))
    with pytest.raises(ArgumentError) as e:
        check_value("x", schema, long)
    assert len(e.value.message) < 300


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (Schema(ValueType.BOOL), "bool"),
        (Schema(ValueType.DOUBLE, "Cel"), "double, Cel"),
        (Schema(ValueType.INT, "ms", 50), "int, at least 50 ms"),
        (Schema(ValueType.INT, "", None, 7), "int, at most 7"),
        (Schema(ValueType.INT, "%", 0, 100), "int, 0 to 100 %"),
    ],
)
def test_schemas_in_words(schema: Schema, words: str) -> None:
    assert describe(schema) == words


@pytest.mark.parametrize("bound", [1_000_000, 4_294_967_295, 2**53, 0.1, -1_234_567.5])
def test_refusal_states_exact_bounds(bound: float) -> None:
    text = describe(Schema(ValueType.DOUBLE, minimum=bound)).rpartition(" ")[2]
    assert float(text) == bound


BRIGHTNESS = Schema(ValueType.INT, "%", 0, 100)


@pytest.mark.parametrize(
    ("schema", "given_", "wanted"),
    [
        (BRIGHTNESS, "40%", 40),
        (BRIGHTNESS, "40 %", 40),
        (BRIGHTNESS, {"value": 40, "unit": "%"}, 40),
        (BRIGHTNESS, {"value": 40}, 40),
        (Schema(ValueType.DOUBLE, "Cel"), "-2.5e1 °C", -25.0),
        (Schema(ValueType.DOUBLE, "Cel"), "20Cel", 20.0),
        (Schema(ValueType.STRING), "40%", "40%"),
    ],
)
def test_arguments_a_number_may_carry_the_unit_of_the_contract(schema: Schema, given_: Value, wanted: Value) -> None:
    found = check_given("x", schema, given_)
    assert (found, type(found)) == (wanted, type(wanted))
    assert check_arguments("a.b", (Parameter("x", schema),), {"x": given_}) == {"x": wanted}


@pytest.mark.parametrize(
    ("schema", "given_", "message"),
    [
        (BRIGHTNESS, "40 lx", "unit 'lx', the contract has '%'"),
        (Schema(ValueType.INT), "40%", "unit '%', the contract has 'none'"),
        (BRIGHTNESS, "40", "x is 40 .string."),
        (BRIGHTNESS, "400%", "0 to 100 %"),
        (BRIGHTNESS, {"value": 40, "unit": "%", "more": 1}, "map"),
        (BRIGHTNESS, {"value": {"value": 40}}, "map"),
        (Schema(ValueType.STRING), {"value": 1}, "int"),
    ],
)
def test_arguments_another_unit_is_refused(schema: Schema, given_: Value, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        check_given("x", schema, given_)


def test_check_value_refuses_a_unit_because_devices_send_none() -> None:
    with pytest.raises(ArgumentError):
        check_value("x", BRIGHTNESS, "40%")
