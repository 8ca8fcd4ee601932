"""Requirements: their text form, and the position of a fault."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.capability import ValueType
from services.domain.errors import InvalidIdError, InvalidRequestError
from services.domain.requirements import AffordanceKind, Member, Requirement, check, parse_requirement
from tests.fixtures.strategies import finite, member_ids, semantic_types

PROPERTY, ACTION, EVENT = AffordanceKind.PROPERTY, AffordanceKind.ACTION, AffordanceKind.EVENT
_VERSIONS = st.integers(1, 10**9 - 1)


@st.composite
def members(draw: st.DrawFn) -> Member:
    """Members as the text form can say them."""
    kind, name = draw(st.sampled_from(AffordanceKind)), draw(member_ids)
    if kind is not PROPERTY:
        return Member(kind, name)
    bounds = sorted(draw(st.lists(finite, min_size=2, max_size=2)))
    low, high = (draw(st.sampled_from([None, bound])) for bound in bounds)
    bounded = low is not None or high is not None
    numeric = (None, ValueType.INT, ValueType.DOUBLE)
    types = numeric if bounded else (None, *ValueType)
    access = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    unit = draw(st.sampled_from(["", "Cel", "%", "m/s2", "[degF]"]))
    return Member(PROPERTY, name, draw(st.sampled_from(types)), unit, low, high, *access)


@st.composite
def requirements(draw: st.DrawFn) -> Requirement:
    """Requirements as the text form can say them."""
    low, high = sorted(draw(st.tuples(_VERSIONS, _VERSIONS)))
    found = st.lists(members(), max_size=3).map(tuple)
    wanted_id = draw(st.one_of(st.just(""), member_ids))
    return Requirement(draw(semantic_types), low, draw(st.sampled_from([None, low, high])), wanted_id, draw(found))


@given(requirements())
def test_requirements_survive_a_round_trip(requirement: Requirement) -> None:
    assert parse_requirement(str(requirement)) == check(requirement)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sensor.temperature", Requirement("sensor.temperature")),
        ("sensor.temperature@2", Requirement("sensor.temperature", 2, 2)),
        ("sensor.temperature@2+", Requirement("sensor.temperature", 2)),
        ("sensor.temperature@2..3", Requirement("sensor.temperature", 2, 3)),
        ("led0=actuator.led@1+", Requirement("actuator.led", id="led0")),
        (
            "actuator.led@1+{blink(), on:bool rw, brightness:% 0..100}",
            Requirement(
                "actuator.led",
                members=(
                    Member(ACTION, "blink"),
                    Member(PROPERTY, "on", ValueType.BOOL, readable=True, writable=True),
                    Member(PROPERTY, "brightness", unit="%", minimum=0, maximum=100),
                ),
            ),
        ),
        (
            "sensor.temperature{value:double Cel -10..40.5 ro,overheated!,limit ..9,name:string,raw r}",
            Requirement(
                "sensor.temperature",
                members=(
                    Member(PROPERTY, "value", ValueType.DOUBLE, "Cel", -10, 40.5, readable=True, observable=True),
                    Member(EVENT, "overheated"),
                    Member(PROPERTY, "limit", maximum=9),
                    Member(PROPERTY, "name", ValueType.STRING),
                    Member(PROPERTY, "raw", readable=True),
                ),
            ),
        ),
    ],
)
def test_the_ways_to_write_one(text: str, found: Requirement) -> None:
    assert parse_requirement(text) == found


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        (" ", 0),
        ("sensor", 0),
        ("Sensor.temperature", 0),
        ("sensor.temperature@", 19),
        ("sensor.temperature@+", 19),
        ("sensor.temperature@0", 19),
        ("sensor.temperature@0+", 19),
        ("sensor.temperature@-1", 19),
        ("sensor.temperature@1.5", 19),
        ("sensor.temperature@1++", 19),
        ("sensor.temperature@3..2", 19),
        ("sensor.temperature@1..", 19),
        ("sensor.temperature@1+ ", 21),
        ("sensor.temperature@1\n", 20),
        ("sensor.temperature@१", 19),
        ("sensor.temperature@1234567890", 19),
        ("sensor.temperature@1@2", 19),
        ("sensor.temperature@2 and more", 20),
        ("Led=actuator.led", 0),
        ("=actuator.led", 0),
        ("led0=actuator", 5),
        ("actuator.led{", 13),
        ("actuator.led{}", 13),
        ("actuator.led{on} ", 16),
        ("actuator.led{on,}", 16),
        ("actuator.led{on:}", 15),
        ("actuator.led{on, Blink()}", 17),
        ("actuator.led{level:int % 5..1}", 13),
        ("actuator.led{on:bool 0..1}", 13),
        ("actuator.led{level:int % 0..1 rw x}", 33),
        ("actuator.led{level 1..2 3..4}", 24),
        ("actuator.led{level:aVeryLongUnitIndeed}", 13),
        ("actuator.led{" + ",".join(["on"] * 17) + "}", 13 + 3 * 16),
        ("x" * 3000, 2048),
    ],
)
def test_invalid_requirement_is_refused_with_position(text: str, position: int) -> None:
    with pytest.raises((InvalidRequestError, InvalidIdError), match=f"at position {position}:") as e:
        parse_requirement(text)
    assert e.value.data["position"] == str(position)
    assert e.value.hint


@given(st.one_of(st.text(max_size=80), st.text("a.b@1+{}():!, rw-=%", max_size=30).map(lambda tail: "a.b" + tail)))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        requirement = parse_requirement(text)
    except (InvalidRequestError, InvalidIdError) as e:
        assert e.message.isprintable()
        assert 0 <= int(e.data["position"]) <= len(text)
    else:
        assert parse_requirement(str(requirement)) == requirement


@pytest.mark.parametrize(
    "wrong",
    [
        Requirement("sensor"),
        Requirement("sensor.x", 0),
        Requirement("sensor.x", 3, 2),
        Requirement("sensor.x", id="No"),
        Requirement("sensor.x", members=(Member(ACTION, "go", unit="Cel"),)),
        Requirement("sensor.x", members=(Member(PROPERTY, "v", minimum=float("nan")),)),
        Requirement("sensor.x", members=(Member(PROPERTY, "v", maximum=float("inf")),)),
        Requirement("sensor.x", members=(Member(PROPERTY, "v", minimum=2, maximum=1),)),
        Requirement("sensor.x", members=(Member(PROPERTY, "v", ValueType.STRING, minimum=2),)),
        Requirement("sensor.x", members=(Member(PROPERTY, "v", unit="{total-pulses--}"),)),
        Requirement("sensor.x", members=(Member(PROPERTY, "v", unit="celsius"),)),
        Requirement("sensor.x", members=(Member(PROPERTY, "v"),) * 17),
    ],
)
def test_a_structured_requirement_is_held_to_its_bounds(wrong: Requirement) -> None:
    with pytest.raises((InvalidRequestError, InvalidIdError)):
        check(wrong)
