"""Between protos and the domain: whatever goes out comes back the same, also through the wire."""

from __future__ import annotations

import math
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis import codec
from services.domain import contract as dk
from services.domain.capability import Capability, Property, Schema, ValueType
from services.domain.errors import InvalidRequestError
from services.domain.values import INT_MAX, INT_MIN, MAX_DEPTH, Value
from tests.fixtures.strategies import (
    capabilities,
    contracts,
    link_terms,
    member_ids,
    moments,
    refusals,
    schemas,
    texts,
    values,
)
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.common.v1 import contract_pb2 as kp
from yggdrasil.common.v1 import value_pb2 as vp


def same(left: Value, right: Value) -> bool:
    """Equal in value and in type, all the way down."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return left == right


@given(values)
def test_values(value: Value) -> None:
    wire = codec.value_to_proto(value).SerializeToString()
    assert same(codec.value_from_proto(vp.Value.FromString(wire)), value)


@pytest.mark.parametrize("edge", [INT_MIN, INT_MAX, 0, -0.0, math.inf, True, False, "", b"", [], {}, None, [None]])
def test_values_at_the_edge(edge: Value) -> None:
    wire = codec.value_to_proto(edge).SerializeToString()
    back = codec.value_from_proto(vp.Value.FromString(wire))
    assert same(back, edge)
    assert str(back) == str(edge)


def test_no_number_stays_no_number() -> None:
    back = codec.value_from_proto(codec.value_to_proto(math.nan))
    assert isinstance(back, float)
    assert math.isnan(back)


@given(st.dictionaries(member_ids, values, max_size=4))
def test_maps_of_values(given_: dict[str, Value]) -> None:
    assert same(dict(codec.values_from_proto(codec.values_to_proto(given_))), dict(given_))


@pytest.mark.parametrize("in_maps", [False, True])
def test_a_bomb_of_nested_values_is_refused(in_maps: bool) -> None:
    def nested(depth: int) -> vp.Value:
        value = vp.Value(int=1)
        for _ in range(depth):
            if in_maps:
                value = vp.Value(map=vp.ValueMap(entries={"k": value}))
            else:
                value = vp.Value(list=vp.ValueList(values=[value]))
        return value

    assert codec.value_from_proto(nested(MAX_DEPTH))
    with pytest.raises(InvalidRequestError, match="deeper"):
        codec.value_from_proto(nested(MAX_DEPTH + 1))


@given(schemas())
def test_schemas(schema: Schema) -> None:
    capability = Capability("c", "a.b", 1, (Property("p", schema),))
    wire = codec.capability_to_proto(capability).SerializeToString()
    assert codec.capability_from_proto(cp.Capability.FromString(wire)).properties[0].schema == schema


@given(capabilities)
@settings(max_examples=40)
def test_capabilities(capability: Capability) -> None:
    wire = codec.capability_to_proto(capability).SerializeToString()
    assert codec.capability_from_proto(cp.Capability.FromString(wire)) == capability


@given(contracts)
@settings(max_examples=25)
def test_contracts(contract: dk.Contract) -> None:
    wire = codec.contract_to_proto(contract).SerializeToString()
    assert codec.contract_from_proto(kp.Contract.FromString(wire)) == contract


@given(refusals)
def test_refusals(refusal: dk.Refusal) -> None:
    message = codec.refusal_to_proto(refusal)
    assert (message.capability_id, message.type, message.version, message.message) == (
        refusal.capability_id,
        refusal.type,
        refusal.version,
        refusal.message,
    )
    assert kp.RefusalReason.Name(message.reason) == f"REFUSAL_REASON_{refusal.reason.name}"


@given(link_terms)
def test_terms(terms: dk.LinkTerms) -> None:
    assert codec.terms_from_proto(kp.LinkTerms.FromString(codec.terms_to_proto(terms).SerializeToString())) == terms


@given(st.lists(texts, max_size=3), st.lists(texts, max_size=3), st.lists(texts, max_size=3))
def test_changes(added: list[str], removed: list[str], changed: list[str]) -> None:
    changes = dk.Changes(tuple(added), tuple(removed), tuple(changed))
    assert codec.changes_from_proto(codec.changes_to_proto(changes)) == changes


@given(moments)
def test_moments(when: datetime) -> None:
    stamp = codec.timestamp(when)
    assert stamp is not None
    assert codec.moment(stamp) == when
    assert codec.moment(stamp).utcoffset() == when.utcoffset()
    assert codec.timestamp(None) is None


def test_unknown_enumeration_values_are_refused() -> None:
    for number in (cp.VALUE_TYPE_UNSPECIFIED, 99):
        with pytest.raises(InvalidRequestError):
            codec.schema_from_proto(cp.DataSchema(type=number))  # type: ignore[arg-type]
    for number in (kp.REFUSAL_REASON_UNSPECIFIED, 99):
        refused = kp.Contract(refused=[kp.Refusal(reason=number)])  # type: ignore[arg-type]
        with pytest.raises(InvalidRequestError):
            codec.contract_from_proto(refused)


def test_every_enumeration_of_the_protos_has_its_twin() -> None:
    types = {name.removeprefix("VALUE_TYPE_") for name in cp.ValueType.keys()}  # noqa: SIM118 - an enum wrapper
    assert types - {"UNSPECIFIED"} == {kind.name for kind in ValueType}
    reasons = {name.removeprefix("REFUSAL_REASON_") for name in kp.RefusalReason.keys()}  # noqa: SIM118
    assert reasons - {"UNSPECIFIED"} == {reason.name for reason in dk.RefusalReason}
