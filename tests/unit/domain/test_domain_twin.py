"""The rules of twins: valid desired state, changes of the sides, and the delta."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import twin
from services.domain.capability import Capability, Property, Schema, ValueType
from services.domain.contract import Contract, LinkTerms
from services.domain.errors import Code, ContractError, InvalidRequestError, YggError
from services.domain.twin import Report, Side
from services.domain.values import Value

T0 = datetime(2026, 1, 1, tzinfo=UTC)
T1 = T0 + timedelta(seconds=1)
LED = Capability(
    "led0",
    "actuator.led",
    1,
    (
        Property("on", Schema(ValueType.BOOL), writable=True),
        Property("brightness", Schema(ValueType.INT, "%", 0, 100), writable=True),
        Property("secret", Schema(ValueType.BOOL), readable=False, writable=True),
        Property("hours", Schema(ValueType.INT)),
    ),
)
THERMOSTAT = Capability(
    "heat0", "actuator.heater", 1, (Property("target", Schema(ValueType.DOUBLE, "Cel", 5, 30), writable=True),)
)
CONTRACT = Contract("porch-1", "0" * 64, (LED, THERMOSTAT), (), LinkTerms(1, 1024, 1024, 4, 10_000), "")
ON, BRIGHTNESS, TARGET = ("led0", "on"), ("led0", "brightness"), ("heat0", "target")


def desire(
    old: Side, document: dict[str, Value], *, replacing: bool = False, now: datetime = T0, reported: Side | None = None
) -> Side:
    drifting = twin.drifted(old, reported) if reported else ()
    patch = twin.parse(document, CONTRACT)
    return twin.desire(old, patch, replacing=replacing, now=now, author="ygg://main/user/ann", drifting=drifting)


def report(
    old: Side,
    said: dict[twin.Path, Report],
    desired: Side | None = None,
    *,
    complete: bool = False,
    answers: int = 0,
) -> Side:
    return twin.report(
        old,
        said,
        desired or Side(),
        complete=complete,
        answers=answers,
        contract_revision=1,
        session_epoch=1,
        now=T1,
        author="ygg://main/device/porch-1",
    )


def test_a_document_is_merged_by_property() -> None:
    one = desire(Side(), {"led0": {"on": True, "brightness": 40}})
    two = desire(one, {"led0": {"brightness": 50}}, now=T1)
    assert two.values() == {BRIGHTNESS: 50, ON: True}
    assert (one.revision, two.revision) == (1, 2)
    assert (two.entries[ON].revision, two.entries[BRIGHTNESS].revision) == (1, 2)
    assert (two.entries[ON].time, two.entries[BRIGHTNESS].time) == (T0, T1)


def test_null_removes_a_property_or_whole_capability() -> None:
    full = desire(Side(), {"led0": {"on": True, "brightness": 40}, "heat0": {"target": 20}})
    assert desire(full, {"led0": {"on": None}}).values() == {TARGET: 20.0, BRIGHTNESS: 40}
    assert desire(full, {"led0": None}).values() == {TARGET: 20.0}
    assert desire(full, {"heat0": {"target": 21}}, replacing=True).values() == {TARGET: 21.0}


def test_unchanged_write_makes_no_new_revision() -> None:
    one = desire(Side(), {"led0": {"on": True}})
    assert desire(one, {"led0": {"on": True}}) is one
    assert desire(one, {"led0": {"brightness": None}, "heat0": None}) is one


def test_true_is_not_one() -> None:
    side = desire(Side(), {"led0": {"brightness": 1}})
    assert twin.delta(side, report(Side(), {BRIGHTNESS: Report(True)})) == {BRIGHTNESS: 1}
    assert twin.delta(side, report(Side(), {BRIGHTNESS: Report(1)})) == {}


def test_a_value_may_carry_its_unit_and_is_widened() -> None:
    side = desire(Side(), {"heat0": {"target": {"value": 20, "unit": "Cel"}}, "led0": {"brightness": {"value": 4}}})
    assert side.values() == {TARGET: 20.0, BRIGHTNESS: 4}
    assert isinstance(side.values()[TARGET], float)


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        ({"led0": {"brightness": 101}}, "led0.brightness", "0 to 100 %"),
        ({"led0": {"brightness": "40"}}, "led0.brightness", "requires int"),
        ({"led0": {"brightness": True}}, "led0.brightness", "requires int"),
        ({"led0": {"on": 1}}, "led0.on", "requires bool"),
        ({"led0": {"hours": 1}}, "led0.hours", "cannot be written"),
        ({"led0": {"secret": True}}, "led0.secret", "cannot be read"),
        ({"led0": {"colour": "red"}}, "led0.colour", "no property colour"),
        ({"led9": {"on": True}}, "led9.on", "no capability led9"),
        ({"heat0": {"target": {"value": 20, "unit": "K"}}}, "heat0.target", "unit 'K'"),
        ({"heat0": {"target": {"degrees": 20}}}, "heat0.target", "nested too deep"),
        ({"heat0": {"target": {"value": {"value": 20}}}}, "heat0.target", "requires double"),
        ({"heat0": {"target": [20]}}, "heat0.target", "requires double"),
        ({"heat0": {"target": float("nan")}}, "heat0.target", "finite"),
        ({"heat0": {"target": 2**63}}, "heat0.target", "64-bit"),
    ],
)
def test_values_outside_contract_are_refused_by_path(document: dict[str, Value], path: str, message: str) -> None:
    with pytest.raises(ContractError, match=message) as caught:
        twin.parse(document, CONTRACT)
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert caught.value.data["path"] == path
    assert path in caught.value.message


@pytest.mark.parametrize("members", [True, 1, "on", ["on"], b"on"])
def test_a_capability_must_be_a_map(members: Value) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        twin.parse({"led0": members}, CONTRACT)
    assert caught.value.data["path"] == "led0"


def test_delta_is_desired_state_that_differs_from_reported() -> None:
    desired = desire(Side(), {"led0": {"on": True, "brightness": 40}, "heat0": {"target": 20}})
    reported = report(Side(), {ON: Report(True), BRIGHTNESS: Report(10)})
    assert twin.nested(twin.delta(desired, reported)) == {"heat0": {"target": 20.0}, "led0": {"brightness": 40}}


def test_complete_report_drops_absent_properties() -> None:
    one = report(Side(), {ON: Report(True), TARGET: Report(20.0)})
    assert report(one, {ON: Report(True)}).values() == {ON: True, TARGET: 20.0}
    assert report(one, {ON: Report(True)}, complete=True).values() == {ON: True}


def test_unchanged_report_makes_no_new_version() -> None:
    one = report(Side(), {ON: Report(True)}, complete=True)
    assert report(one, {ON: Report(True)}, complete=True) is one
    assert report(one, {ON: Report(False)}).revision == 2


def test_problem_remains_until_a_response_without_one() -> None:
    failed = report(Side(), {ON: Report(False, "the hardware failed")}, answers=3)
    assert (failed.entries[ON].problem, failed.entries[ON].problem_revision) == ("the hardware failed", 3)
    spontaneous = report(failed, {ON: Report(False)})
    assert spontaneous.entries[ON].problem == "the hardware failed"
    assert report(failed, {ON: Report(True)}, answers=4).entries[ON].problem == ""


def test_delta_omits_values_outside_current_contract() -> None:
    narrowed = Contract("porch-1", "0" * 64, (LED,), (), CONTRACT.link, "")
    wanted = desire(Side(), {"led0": {"on": True}, "heat0": {"target": 20}}).values()
    assert twin.allowed(wanted, narrowed) == {ON: True}
    assert "no capability heat0" in twin.violation(TARGET, 20.0, narrowed)
    assert twin.violation(TARGET, 20.0, None) == ""


documents = st.dictionaries(
    st.sampled_from(["led0", "heat0"]),
    st.one_of(
        st.none(),
        st.dictionaries(
            st.sampled_from(["on", "brightness", "target", "hours"]),
            st.one_of(st.none(), st.booleans(), st.integers(-10, 110), st.floats(0, 40)),
        ),
    ),
)


@given(st.lists(documents, max_size=6))
def test_merging_is_that_of_rfc_7396(patches: list[dict[str, Value]]) -> None:
    side, plain = Side(), dict[str, dict[str, Value]]()
    for document in patches:
        try:
            side = desire(side, document)
        except YggError:
            continue
        for capability_id, members in document.items():
            if members is None:
                plain.pop(capability_id, None)
                continue
            assert isinstance(members, dict)
            inner = plain.setdefault(capability_id, {})
            for prop, value in members.items():
                if value is None:
                    inner.pop(prop, None)
                else:
                    inner[prop] = value
    assert twin.nested(side.values()) == {key: inner for key, inner in plain.items() if inner}


@given(documents)
def test_reporting_all_that_is_desired_leaves_no_delta(document: dict[str, Value]) -> None:
    try:
        desired = desire(Side(), document)
    except YggError:
        return
    said = {path: Report(value) for path, value in twin.delta(desired, Side()).items()}
    assert twin.delta(desired, report(Side(), said)) == {}


def test_twin_drifts_when_a_settled_value_changes() -> None:
    desired = desire(Side(), {"led0": {"brightness": 40}})
    waiting = report(Side(), {BRIGHTNESS: Report(10)}, desired, complete=True)
    assert twin.drifted(desired, waiting) == set()
    assert twin.drifted(desired, report(waiting, {BRIGHTNESS: Report(20)}, desired)) == set()
    settled = report(waiting, {BRIGHTNESS: Report(40)}, desired, answers=1)
    written_past = report(settled, {BRIGHTNESS: Report(80)}, desired)
    assert twin.drifted(desired, settled) == set()
    assert twin.drifted(desired, written_past) == {BRIGHTNESS}


def test_twin_drifts_when_the_device_answers_with_another_value() -> None:
    desired = desire(Side(), {"led0": {"brightness": 41}})
    assert twin.drifted(desired, report(Side(), {BRIGHTNESS: Report(40)}, desired, answers=1)) == {BRIGHTNESS}
    unreadable = report(Side(), {BRIGHTNESS: Report(None)}, desired, answers=1)
    assert twin.drifted(desired, unreadable) == set()


def test_twin_no_longer_drifts_when_the_device_connects_again() -> None:
    desired = desire(Side(), {"led0": {"brightness": 40}})
    at_boot = report(Side(), {BRIGHTNESS: Report(40)}, desired, complete=True)
    past = report(at_boot, {BRIGHTNESS: Report(80)}, desired)
    assert twin.drifted(desired, past) == {BRIGHTNESS}
    assert twin.drifted(desired, report(past, {BRIGHTNESS: Report(80)}, desired, complete=True)) == set()


def test_twin_desires_a_drifted_value_again_under_a_new_revision() -> None:
    desired = desire(Side(), {"led0": {"on": True, "brightness": 40}})
    has = report(Side(), {BRIGHTNESS: Report(80), ON: Report(True)}, desired, answers=1)
    again = desire(desired, {"led0": {"on": True, "brightness": 40}}, reported=has, now=T1)
    assert (again.revision, again.entries[BRIGHTNESS].revision, again.entries[ON].revision) == (2, 2, 1)
    assert twin.drifted(again, has) == set()
    assert desire(again, {"led0": {"brightness": 40}}, reported=has) is again
