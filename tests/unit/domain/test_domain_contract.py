"""Look-ups in a contract: they find members, or list the existing ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.capability import Action, Capability, Event, Property, Schema, ValueType
from services.domain.contract import Changes, Contract, LinkTerms, Refusal, RefusalReason, compare
from services.domain.errors import Code, ContractError

BOOL = Schema(ValueType.BOOL)
LED = Capability(
    "led0",
    "actuator.led",
    2,
    (
        Property("on", BOOL, writable=True),
        Property("secret", BOOL, readable=False, writable=True),
        Property("ro", BOOL),
    ),
    (Action("blink"), Action("off")),
    (Event("burnt"),),
)
CONTRACT = Contract(
    "porch-1",
    "0" * 64,
    (LED,),
    (Refusal("siren0", "actuator.siren", 1, RefusalReason.POLICY, "the policy demo allows no actuator.siren"),),
    LinkTerms(1, 1024, 1024, 4, 10_000),
    "demo",
)


def test_existing_members_are_found() -> None:
    assert CONTRACT.capability("led0") is LED
    assert CONTRACT.action("led0", "off") is LED.actions[1]
    assert CONTRACT.event("led0", "burnt") is LED.events[0]
    assert CONTRACT.readable("led0", "on") is LED.properties[0]
    assert CONTRACT.writable("led0", "secret") is LED.properties[1]


@pytest.mark.parametrize(
    ("look", "message", "hint"),
    [
        (
            lambda c: c.capability("led1"),
            "porch-1 has no capability led1",
            "Its contract has led0 (actuator.led@2).",
        ),
        (
            lambda c: c.capability("siren0"),
            "siren0 of porch-1 was refused: the policy demo allows no actuator.siren",
            "",
        ),
        (lambda c: c.action("led0", "on"), "led0 of porch-1 has no action on", "It has blink, off."),
        (lambda c: c.event("led0", "blink"), "led0 of porch-1 has no event blink", "It has burnt."),
        (lambda c: c.readable("led0", "off"), "led0 of porch-1 has no property off", "It has on, secret, ro."),
        (lambda c: c.readable("led0", "secret"), "led0.secret of porch-1 cannot be read, only written", ""),
        (lambda c: c.writable("led0", "ro"), "led0.ro of porch-1 cannot be written, only read", ""),
    ],
)
def test_missing_member_is_refused_with_available_ones(look, message: str, hint: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ContractError) as e:
        look(CONTRACT)
    assert (e.value.message, e.value.hint, e.value.code) == (message, hint, Code.FAILED_PRECONDITION)


def test_empty_contract_is_described_as_empty() -> None:
    with pytest.raises(ContractError) as e:
        replace(CONTRACT, capabilities=()).capability("led0")
    assert e.value.hint == "Its contract has nothing."
    with pytest.raises(ContractError) as e:
        replace(CONTRACT, capabilities=(replace(LED, actions=()),)).action("led0", "on")
    assert e.value.hint == "It has no actions."


def test_an_endless_name_makes_no_endless_message() -> None:
    for look in (CONTRACT.capability, lambda name: CONTRACT.action("led0", name)):
        with pytest.raises(ContractError) as e:
            look("x" * 100_000)
        assert len(e.value.message) < 200
        assert max(map(len, e.value.data.values())) <= 64


VARIANTS = st.sampled_from(
    [replace(LED, id=name, version=version) for name in ("led0", "led1", "led2", "led3") for version in (1, 2)]
)
CAPABILITIES = st.lists(VARIANTS, unique_by=lambda capability: capability.id).map(tuple)


@given(CAPABILITIES, CAPABILITIES)
def test_changes_lead_from_one_contract_to_the_other(had: tuple[Capability, ...], has: tuple[Capability, ...]) -> None:
    old, new = replace(CONTRACT, capabilities=had), replace(CONTRACT, capabilities=has)
    changes = compare(old, new)
    before, after = {c.id: c for c in had}, {c.id: c for c in has}
    assert set(before) - set(changes.removed) | set(changes.added) == set(after)
    assert set(changes.changed) == {name for name in before.keys() & after.keys() if before[name] != after[name]}
    assert compare(new, new) == Changes()
    assert compare(None, new) == Changes(added=tuple(after))
