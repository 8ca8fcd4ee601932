"""Values: the range that the mesh carries, and their text form."""

from __future__ import annotations

import pytest
from hypothesis import given

from services.domain import values as dv
from services.domain.errors import InvalidRequestError
from services.domain.values import INT_MAX, INT_MIN, MAX_DEPTH, Value
from tests.fixtures.strategies import values


def nested(depth: int, *, in_maps: bool = False) -> Value:
    value: Value = 1
    for _ in range(depth):
        value = {"k": value} if in_maps else [value]
    return value


@given(values)
def test_representable_values_pass_unchanged(value: Value) -> None:
    assert dv.check(value) is value


@pytest.mark.parametrize("in_maps", [False, True])
def test_depth_is_bounded(in_maps: bool) -> None:
    assert dv.check(nested(MAX_DEPTH, in_maps=in_maps))
    with pytest.raises(InvalidRequestError, match="deeper"):
        dv.check(nested(MAX_DEPTH + 1, in_maps=in_maps))


@pytest.mark.parametrize(
    "bad", [INT_MAX + 1, INT_MIN - 1, [INT_MAX + 1], {"k": [INT_MIN - 1]}, "\ud800", ["\udfff"], {"\ud800": 1}]
)
def test_unrepresentable_value_is_refused_at_any_depth(bad: Value) -> None:
    with pytest.raises(InvalidRequestError):
        dv.check(bad)


@pytest.mark.parametrize("edge", [INT_MAX, INT_MIN, True, 0, -1])
def test_edges_of_integers_pass(edge: int) -> None:
    assert dv.check(edge) is edge


@pytest.mark.parametrize(
    ("value", "name", "shown"),
    [
        (True, "bool", "true"),
        (False, "bool", "false"),
        (1, "int", "1"),
        (2.5, "double", "2.5"),
        ("hi", "string", "hi"),
        (b"\x00\xff", "bytes", "0x00ff"),
        (None, "nothing", "nothing"),
        ([1], "list", "[1]"),
        ({"a": 1}, "map", "{'a': 1}"),
    ],
)
def test_names_and_texts(value: Value, name: str, shown: str) -> None:
    assert dv.type_name(value) == name
    assert dv.text(value) == shown
