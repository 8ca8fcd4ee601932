"""The arguments that change a twin, and the output of one."""

from __future__ import annotations

import pytest

from services.chassis.codec import value_to_proto
from services.domain.capability import Capability, Property, Schema, ValueType
from services.domain.contract import Contract, LinkTerms
from services.domain.values import Value
from ygg import twins
from ygg.exits import UsageError
from yggdrasil.registry.v1 import twin_pb2 as pb

LED = Capability(
    "led0",
    "actuator.led",
    1,
    (
        Property("on", Schema(ValueType.BOOL)),
        Property("brightness", Schema(ValueType.INT, "%", 0, 100)),
        Property("warmth", Schema(ValueType.DOUBLE, "Cel")),
        Property("name", Schema(ValueType.STRING)),
    ),
)
CONTRACT = Contract("porch-1", "0" * 64, (LED,), (), LinkTerms(1, 1024, 1024, 4, 10_000), "")


@pytest.mark.parametrize(
    ("words", "document"),
    [
        ({"led0.on": "on", "led0.brightness": "40"}, {"led0": {"on": True, "brightness": 40}}),
        ({"led0.brightness": "40%"}, {"led0": {"brightness": 40}}),
        ({"led0.brightness": "40 lx"}, {"led0": {"brightness": "40 lx"}}),
        ({"led0.warmth": "20 °C"}, {"led0": {"warmth": 20.0}}),
        ({"led0.warmth": "-2e1Cel"}, {"led0": {"warmth": -20.0}}),
        ({"led0.warmth": "1e3"}, {"led0": {"warmth": 1000.0}}),
        ({"led0.brightness": "bright"}, {"led0": {"brightness": "bright"}}),
        ({"led0.name": "20Cel"}, {"led0": {"name": "20Cel"}}),
        ({"led0.on": "", "led0.name": "x"}, {"led0": {"on": None, "name": "x"}}),
        ({"led0": ""}, {"led0": None}),
        ({"led7.x": "3"}, {"led7": {"x": 3}}),
    ],
)
def test_words_become_a_document_by_the_types_of_the_contract(
    words: dict[str, str], document: dict[str, Value]
) -> None:
    assert twins.patch(words, CONTRACT) == document


@pytest.mark.parametrize(
    "words", [{"led0": "3"}, {"led0.": "3"}, {".on": "3"}, {"a.b.c": "3"}, {"led0": "", "led0.on": "true"}]
)
def test_invalid_property_name_is_refused(words: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        twins.patch(words, CONTRACT)


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_invalid_document_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        twins.document(text)


def test_a_document_keeps_null_for_removal() -> None:
    assert twins.document('{"led0": {"on": null}, "x": null}') == {"led0": {"on": None}, "x": None}


def prop(name: str, desired: Value, reported: Value, **more: object) -> pb.TwinProperty:
    return pb.TwinProperty(
        capability_id="led0",
        property=name,
        desired=value_to_proto(desired),
        reported=value_to_proto(reported),
        **more,  # type: ignore[arg-type]
    )


def test_program_report_is_shown_by_key_and_as_json() -> None:
    one = pb.TwinProgram(deployment_id="blink", reported={"n": value_to_proto(2), "a": value_to_proto("x")})
    assert twins.program_lines(one) == ["blink reports a = x", "blink reports n = 2"]
    assert twins.to_json(pb.Twin(programs=[one]))["programs"][0]["reported"] == {"n": 2, "a": "x"}


def test_a_twin_is_shown_property_by_property() -> None:
    assert twins.row(prop("on", True, False, pending=True)) == ("led0.on", "true", "false", "pending")
    assert twins.row(prop("on", True, True)) == ("led0.on", "true", "true", "in sync")
    assert twins.row(prop("on", None, True)) == ("led0.on", "-", "true", "")
    assert twins.row(prop("on", 3, None, pending=True, problem="the board\x1b said no"))[3] == "the board? said no"


def test_watch_shows_only_changes() -> None:
    first = pb.Twin(properties=[prop("on", True, False, pending=True), prop("name", None, "x")])
    second = pb.Twin(properties=[prop("on", True, True)])
    assert list(twins.changes(None, first)) == [
        "led0.on  desired true  reported false  pending",
        "led0.name  desired -  reported x",
    ]
    assert list(twins.changes(first, second)) == [
        "led0.on  desired true  reported true  in sync",
        "led0.name  removed",
    ]
    assert list(twins.changes(second, second)) == []


def test_twin_get_explains_a_drifted_property() -> None:
    led = pb.TwinProperty(
        capability_id="led0",
        property="brightness",
        desired=value_to_proto(40),
        reported=value_to_proto(80),
        pending=True,
        drifted=True,
    )
    name = pb.TwinProperty(
        capability_id="led0", property="name", desired=value_to_proto("a b"), reported=value_to_proto("c"), drifted=True
    )
    assert twins.row(led)[3] == "drifted"
    lines = list(twins.drift(pb.Twin(device_id="porch-1", properties=[led, name])))
    assert "written again when the device next connects" in lines[0]
    assert lines[1:] == [
        "Write the desired value now:  ygg twin set porch-1 led0.brightness=40 led0.name='a b'",
        "Keep the reported value:  ygg twin set porch-1 led0.brightness=80 led0.name=c",
    ]
    assert list(twins.drift(pb.Twin(device_id="porch-1"))) == []
