"""The rules on capabilities: each broken rule is found, and what keeps them all passes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given

from services.domain.capability import (
    Action,
    Capability,
    Event,
    Parameter,
    Property,
    Schema,
    ValueType,
    check,
)
from services.domain.errors import MalformedCapabilityError
from tests.fixtures.strategies import capabilities

BOOL, INT = Schema(ValueType.BOOL), Schema(ValueType.INT)
LED = Capability(
    "led0",
    "actuator.led",
    1,
    (Property("on", BOOL, writable=True),),
    (Action("blink", (Parameter("period_ms", INT),), (Parameter("done", BOOL),)),),
    (Event("pressed", (Parameter("times", INT),)),),
)


def with_schema(schema: Schema) -> Capability:
    return replace(LED, properties=(Property("on", schema),))


def many(count: int) -> tuple[Parameter, ...]:
    return tuple(Parameter(f"p{n}", INT) for n in range(count))


@given(capabilities)
def test_valid_capability_passes(capability: Capability) -> None:
    check(capability)


GOOD = {
    "the most members": replace(LED, properties=tuple(Property(f"p{n}", BOOL) for n in range(16))),
    "the most arguments": replace(LED, actions=(Action("a", many(8), many(8)),)),
    "one name in two kinds": replace(LED, events=(Event("on"),), actions=(Action("on"),)),
    "one name in arguments and results": replace(LED, actions=(Action("a", many(1), many(1)),)),
    "equal bounds": with_schema(Schema(ValueType.INT, "", 1, 1)),
    "the longest unit": with_schema(replace(INT, unit="{total-pulses}")),
    "an int as wide as the link": with_schema(Schema(ValueType.INT, "", -(2.0**63), 2.0**62)),
    "a fraction on a double": with_schema(Schema(ValueType.DOUBLE, "", 0.5, 1.5)),
    "a property that is only observed": replace(
        LED, properties=(Property("on", BOOL, readable=False, observable=True),)
    ),
    "a property that is only written": replace(LED, properties=(Property("on", BOOL, readable=False, writable=True),)),
    "nothing at all": Capability("led0", "actuator.led", 1),
    "an optional argument before one that is not": replace(
        LED, actions=(Action("a", (Parameter("x", INT, optional=True), Parameter("y", INT))),)
    ),
    "the longest data": with_schema(Schema(ValueType.BYTES, max_length=64)),
}
BAD = {
    "an invalid id": replace(LED, id="Led0"),
    "an invalid type": replace(LED, type="led"),
    "version 0": replace(LED, version=0),
    "an invalid property name": replace(LED, properties=(Property("on/off", BOOL),)),
    "an invalid action name": replace(LED, actions=(Action("blink!"),)),
    "an invalid event name": replace(LED, events=(Event(""),)),
    "an invalid argument name": replace(LED, actions=(Action("a", (Parameter("B", INT),)),)),
    "an invalid result name": replace(LED, actions=(Action("a", (), (Parameter("B", INT),)),)),
    "an invalid field name": replace(LED, events=(Event("e", (Parameter("B", INT),)),)),
    "a property twice": replace(LED, properties=(Property("on", BOOL), Property("on", INT))),
    "an action twice": replace(LED, actions=(Action("a"), Action("a"))),
    "an event twice": replace(LED, events=(Event("e"), Event("e"))),
    "an argument twice": replace(LED, actions=(Action("a", (*many(1), *many(1))),)),
    "a result twice": replace(LED, actions=(Action("a", (), (*many(1), *many(1))),)),
    "a field twice": replace(LED, events=(Event("e", (*many(1), *many(1))),)),
    "too many properties": replace(LED, properties=tuple(Property(f"p{n}", BOOL) for n in range(17))),
    "too many actions": replace(LED, actions=tuple(Action(f"a{n}") for n in range(17))),
    "too many events": replace(LED, events=tuple(Event(f"e{n}") for n in range(17))),
    "too many arguments": replace(LED, actions=(Action("a", many(9)),)),
    "too many results": replace(LED, actions=(Action("a", (), many(9)),)),
    "too many fields": replace(LED, events=(Event("e", many(9)),)),
    "a long unit": with_schema(replace(INT, unit="u" * 16)),
    "a unit long in bytes": with_schema(replace(INT, unit="é" * 8)),
    "a unit with control characters": with_schema(replace(INT, unit="\x1b[2J")),
    "a unit that UCUM does not have": with_schema(replace(INT, unit="percent")),
    "a unit as people write it": with_schema(replace(INT, unit="°C")),
    "a fraction as a bound of an int": with_schema(Schema(ValueType.INT, "", 0.5)),
    "a bound beyond an int": with_schema(Schema(ValueType.INT, "", None, 2.0**63)),
    "a property without access": replace(LED, properties=(Property("on", BOOL, readable=False),)),
    "length 0": with_schema(Schema(ValueType.STRING, max_length=0)),
    "length 65": with_schema(Schema(ValueType.STRING, max_length=65)),
    "bounds on a bool": with_schema(Schema(ValueType.BOOL, minimum=0)),
    "bounds on a string": with_schema(Schema(ValueType.STRING, maximum=1)),
    "bounds the wrong way round": with_schema(Schema(ValueType.INT, "", 2, 1)),
    "a bound that is no number": with_schema(Schema(ValueType.DOUBLE, minimum=math.nan)),
    "an infinite bound": with_schema(Schema(ValueType.DOUBLE, maximum=math.inf)),
    "a bad schema of an argument": replace(
        LED, actions=(Action("a", (Parameter("x", Schema(ValueType.INT, "", 2, 1)),)),)
    ),
    "a bad schema of a result": replace(
        LED, actions=(Action("a", (), (Parameter("x", Schema(ValueType.INT, "", 2, 1)),)),)
    ),
    "a bad schema of a field": replace(LED, events=(Event("e", (Parameter("x", Schema(ValueType.INT, "", 2, 1)),)),)),
}


@pytest.mark.parametrize("what", GOOD)
def test_the_edge_of_a_rule_is_allowed(what: str) -> None:
    check(GOOD[what])


@pytest.mark.parametrize("what", BAD)
def test_a_broken_rule_is_found(what: str) -> None:
    with pytest.raises(MalformedCapabilityError) as e:
        check(BAD[what])
    assert e.value.message.isprintable()
    assert e.value.message
