"""How two contracts differ, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from services.domain.capability import Action, Capability, Event, Parameter, Property, Schema, ValueType
from services.domain.contract import Contract, LinkTerms, Refusal, RefusalReason
from services.domain.differences import differences
from tests.fixtures.strategies import capabilities

TEMPERATURE = Schema(ValueType.DOUBLE, "Cel", -40, 50)
TEMP = Capability("temp0", "sensor.temperature", 1, (Property("value", TEMPERATURE),), (), (Event("over"),))
TIMES = Parameter("times", Schema(ValueType.INT, "", 1, 20))
LED = Capability("led0", "actuator.led", 1, (), (Action("blink", (TIMES,)), Action("off")))
SIREN = Refusal("siren0", "actuator.siren", 1, RefusalReason.POLICY, "the policy allows none")
OLD = Contract("porch-1", "0" * 64, (TEMP, LED), (), LinkTerms(1, 1024, 1024, 4, 10_000), "demo", revision=1)


def temp(**changes: object) -> Capability:
    return replace(TEMP, **changes)  # type: ignore[arg-type]


def value(*, schema: Schema = TEMPERATURE, **changes: bool) -> Capability:
    return temp(properties=(Property("value", schema, **changes),))


def blink(*arguments: Parameter, **changes: object) -> Capability:
    return replace(LED, actions=(Action("blink", arguments, **changes), Action("off")))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("new", "lines"),
    [
        (OLD, []),
        (replace(OLD, revision=2, digest="1"), []),
        (
            replace(OLD, capabilities=(value(schema=replace(TEMPERATURE, maximum=125)), LED)),
            ["temp0.value: maximum was 50, is 125"],
        ),
        (
            replace(OLD, capabilities=(value(schema=Schema(ValueType.INT, "K", None, 50)), LED)),
            [
                "temp0.value: type was double, is int",
                "temp0.value: unit was Cel, is K",
                "temp0.value: minimum was -40, is none",
            ],
        ),
        (
            replace(OLD, capabilities=(value(writable=True, readable=False, observable=True), LED)),
            [
                "temp0.value: is no longer readable",
                "temp0.value: is now writable",
                "temp0.value: is now observable",
            ],
        ),
        (
            replace(OLD, capabilities=(temp(version=2, properties=(), events=(Event("under"),)), LED)),
            [
                "temp0: type was sensor.temperature@1, is sensor.temperature@2",
                "temp0.value: property removed",
                "temp0.over: event removed",
                "temp0.under: event added",
            ],
        ),
        (replace(OLD, capabilities=(TEMP,)), ["led0: removed, was actuator.led@1"]),
        (
            replace(OLD, capabilities=(TEMP,), refused=(replace(SIREN, capability_id="led0"),)),
            ["led0: removed, was actuator.led@1", "led0: refused now (actuator.siren@1): the policy allows none"],
        ),
        (replace(OLD, capabilities=(LED, TEMP)), ["the capabilities are in another order"]),
        (
            replace(
                OLD, capabilities=(TEMP, blink(replace(TIMES, optional=True, schema=Schema(ValueType.INT, "", 1))))
            ),
            ["led0.blink: argument times: maximum was 20, is none", "led0.blink: argument times is optional now"],
        ),
        (
            replace(OLD, capabilities=(TEMP, blink(TIMES, replace(TIMES, name="ms"), results=(TIMES,), streamed=True))),
            [
                "led0.blink: argument ms added",
                "led0.blink: result times added",
                "led0.blink: answers now more than once",
            ],
        ),
        (
            replace(OLD, capabilities=(TEMP, replace(LED, actions=LED.actions[::-1]))),
            ["led0: the actions are in another order"],
        ),
        (replace(OLD, refused=(SIREN,)), ["siren0: refused now (actuator.siren@1): the policy allows none"]),
        (
            replace(OLD, link=LinkTerms(1, 512, 1024, 4, 30_000), policy="nursery"),
            [
                "link: device_rx_frame_bytes was 1024 bytes, is 512 bytes",
                "link: heartbeat_ms was 10000 ms, is 30000 ms",
                "policy was demo, is nursery",
            ],
        ),
        (
            replace(OLD, document_digest="1" * 64),
            ["the device's capability document has different bytes with the same meaning"],
        ),
    ],
)
def test_each_difference_is_one_line(new: Contract, lines: list[str]) -> None:
    assert differences(OLD, new) == lines


def test_refused_capability_now_agreed_is_reported() -> None:
    before = replace(OLD, capabilities=(TEMP,), refused=(replace(SIREN, capability_id="led0"), SIREN))
    assert differences(before, OLD) == [
        "led0: added, actuator.led@1 (it was refused)",
        "siren0: no longer offered, was refused",
    ]


@given(capabilities, capabilities)
def test_contracts_with_different_capabilities_have_differences(old: Capability, new: Capability) -> None:
    before, after = replace(OLD, capabilities=(old,)), replace(OLD, capabilities=(new,))
    assert bool(differences(before, after)) is (old != new)
