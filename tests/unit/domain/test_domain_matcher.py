"""The matcher: the capabilities that satisfy a requirement, or the exact failing clause."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.capability import Action, Capability, Event, Property, Schema, ValueType
from services.domain.contract import Refusal, RefusalReason
from services.domain.matcher import ClauseKind, match, match_all
from services.domain.requirements import AffordanceKind, Member, Requirement, parse_requirement
from tests.fixtures.strategies import capabilities

VALUE = Property("value", Schema(ValueType.DOUBLE, "Cel", 0, 50), True, False, True)
NAME = Property("name", Schema(ValueType.STRING), True, True)
COUNT = Property("count", Schema(ValueType.INT), True, True)
TEMP = Capability("temp0", "sensor.temperature", 2, (VALUE, NAME, COUNT), (Action("reset"),), (Event("overheated"),))
LED = Capability("led0", "actuator.led", 1)
SIREN = Refusal("siren0", "actuator.siren", 1, RefusalReason.POLICY, 'policy "demo" denies actuator.siren')
HAVE = (LED, TEMP)


@pytest.mark.parametrize(
    "text",
    [
        "sensor.temperature",
        "sensor.temperature@2",
        "sensor.temperature@1..3",
        "temp0=sensor.temperature@1+",
        "sensor.temperature{reset(), overheated!, value:double Cel 0..50 ro, name:string rw}",
        "sensor.temperature{count:double -1000..1000 w}",
        "sensor.temperature{value 10..20}",
        "sensor.temperature{value 0..}",
    ],
)
def test_met(text: str) -> None:
    found = match(parse_requirement(text), HAVE, (SIREN,))
    assert (found.capability_id, found.failed) == ("temp0", ())


@pytest.mark.parametrize(
    ("text", "kind", "capability", "member", "message"),
    [
        ("sensor.humidity", "TYPE", "", "", "no sensor.humidity; there is led0 (actuator.led@1), temp0 (sensor."),
        ("led0=sensor.temperature", "ID", "temp0", "", "temp0: the id is required to be led0"),
        ("led0=sensor.humidity", "TYPE", "led0", "", "led0 is actuator.led@1, sensor.humidity is required"),
        ("sensor.temperature@3+", "VERSION", "temp0", "", "temp0: sensor.temperature has version 2, 3 or later is req"),
        ("sensor.temperature@1", "VERSION", "temp0", "", "temp0: sensor.temperature has version 2, 1 is required"),
        ("sensor.temperature@4..5", "VERSION", "temp0", "", "temp0: sensor.temperature has version 2, 4 to 5 is req"),
        (
            "sensor.temperature{heat()}",
            "MEMBER",
            "temp0",
            "heat",
            "temp0.heat: action does not exist; the actions ar",
        ),
        (
            "sensor.temperature{cold!}",
            "MEMBER",
            "temp0",
            "cold",
            "temp0.cold: event does not exist; the events are ov",
        ),
        ("sensor.temperature{x}", "MEMBER", "temp0", "x", "temp0.x: property does not exist; the properties are va"),
        ("sensor.temperature{reset}", "MEMBER", "temp0", "reset", "temp0.reset is an action, a property is required"),
        (
            "sensor.temperature{value:int}",
            "VALUE_TYPE",
            "temp0",
            "value",
            "temp0.value: type is double, int is required",
        ),
        ("sensor.temperature{value:K}", "UNIT", "temp0", "value", "temp0.value: unit is Cel, K is required"),
        ("sensor.temperature{name:K}", "UNIT", "temp0", "name", "temp0.name: unit is none, K is required"),
        (
            "sensor.temperature{value -10..40}",
            "RANGE",
            "temp0",
            "value",
            "temp0.value: range is 0 to 50 Cel, -10 to 40 is required",
        ),
        ("sensor.temperature{name 1..}", "RANGE", "temp0", "name", "temp0.name: a string has no range, from 1 is req"),
        ("sensor.temperature{value rw}", "ACCESS", "temp0", "value", "temp0.value cannot be written"),
        ("sensor.temperature{count o}", "ACCESS", "temp0", "count", "temp0.count cannot be observed"),
        ("actuator.siren", "REFUSED", "siren0", "", 'siren0 (actuator.siren@1) was refused: policy "demo" denies'),
    ],
)
def test_failing_clause_is_reported_exactly(text: str, kind: str, capability: str, member: str, message: str) -> None:
    (clause,) = match(parse_requirement(text), HAVE, (SIREN,), position=3).failed
    assert clause.message.startswith(message)
    assert (clause.kind, clause.capability_id, clause.member) == (ClauseKind[kind], capability, member)
    assert clause.requirement == 3


def test_every_failing_clause_of_nearest_is_reported() -> None:
    wanted = parse_requirement("sensor.temperature@3+{value:int K -1..60 w, cool(), reset()}")
    kinds = [clause.kind.name for clause in match(wanted, HAVE).failed]
    assert kinds == ["VERSION", "VALUE_TYPE", "UNIT", "RANGE", "ACCESS", "MEMBER"]


def test_the_nearest_of_several_is_explained() -> None:
    bare, old = Capability("temp1", "sensor.temperature", 2), replace(TEMP, id="temp2", version=1)
    wanted = parse_requirement("sensor.temperature@2+{value:K, name:string}")
    assert {c.capability_id for c in match(wanted, (bare, old, TEMP)).failed} == {"temp0"}
    assert {c.capability_id for c in match(wanted, (bare, old)).failed} == {"temp1"}  # the version weighs more
    assert {c.capability_id for c in match(replace(wanted, id="temp2"), (bare, old, TEMP)).failed} == {"temp2"}


def test_accepted_capability_is_nearer_than_refused_one() -> None:
    refused = replace(SIREN, capability_id="temp9", type="sensor.temperature")
    assert match(parse_requirement("sensor.temperature@3"), HAVE, (refused,)).failed[0].kind is ClauseKind.VERSION
    by_id = match(parse_requirement("temp9=sensor.temperature"), HAVE, (refused,)).failed
    assert [(clause.kind, clause.capability_id) for clause in by_id] == [(ClauseKind.REFUSED, "temp9")]


def test_requirements_are_distinguished_by_position() -> None:
    found = match_all([parse_requirement("actuator.led"), parse_requirement("actuator.fan")], HAVE)
    assert [one.capability_id for one in found] == ["led0", ""]
    assert [clause.requirement for clause in found[1].failed] == [1]


@given(st.lists(capabilities, min_size=1, max_size=3, unique_by=lambda c: c.id), st.data())
def test_a_requirement_read_off_a_capability_is_met(have: list[Capability], data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from(have))
    members = [
        Member(
            AffordanceKind.PROPERTY,
            prop.name,
            prop.schema.type,
            prop.schema.unit,
            prop.schema.minimum,
            prop.schema.maximum,
            prop.readable,
            prop.writable,
            prop.observable,
        )
        for prop in chosen.properties
    ]
    members += [Member(AffordanceKind.ACTION, action.name) for action in chosen.actions]
    members += [Member(AffordanceKind.EVENT, event.name) for event in chosen.events]
    wanted = Requirement(chosen.type, chosen.version, chosen.version, chosen.id, tuple(members))
    assert match(wanted, have).capability_id == chosen.id
    later = match(replace(wanted, min_version=chosen.version + 1, max_version=None), have)
    assert ClauseKind.VERSION in [clause.kind for clause in later.failed]
