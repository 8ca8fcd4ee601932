"""Declarations as protobuf: names that no two scripts share, and messages that a pool takes."""

from __future__ import annotations

import itertools

import pytest

from services.domain.errors import InvalidRequestError
from services.loki.fields import FieldType
from services.loki.model import Language
from services.loki.scripts import descriptors
from services.loki.scripts.catalogue import Snapshot
from services.loki.scripts.errors import UndeclaredResultError
from services.loki.scripts.model import Field, RegisteredScript

NAMES = ["a", "a_b", "ab", "a__b", "a_", "a1", "a_1", "a_1b", "a1_b", "a_b_", "request", "a_request", "blink_response"]
EVERY_TYPE = tuple(Field(f"f_{kind.value}", kind, optional=True) for kind in FieldType)


def script(name: str, **more: object) -> RegisteredScript:
    return RegisteredScript(name, Language.LUA, "return 1", **more)  # type: ignore[arg-type]


def test_no_two_scripts_share_a_message() -> None:
    made = [descriptors.message_name(name, what) for name in NAMES for what in ("Request", "Response")]
    assert [pair for pair in itertools.combinations(made, 2) if pair[0] == pair[1]] == []


def test_a_pool_takes_all_of_them_with_every_type() -> None:
    snapshot = Snapshot({name: script(name, parameters=EVERY_TYPE, results=EVERY_TYPE) for name in NAMES})
    for name in NAMES:
        request, response = snapshot.classes(name)
        assert not request().HasField("f_int")
        assert request(f_int=0).HasField("f_int"), "0 is a value"
        assert {f.name for f in response.DESCRIPTOR.fields} >= {field.name for field in EVERY_TYPE} | {
            "logs",
            "duration",
        }


def test_names_that_are_words_of_protobuf_or_python_are_taken() -> None:
    fields = tuple(Field(name, FieldType.INT) for name in ("message", "string", "optional", "class", "import", "value"))
    request, _ = Snapshot({"x": script("x", parameters=fields)}).classes("x")
    assert request.FromString(request(**{"class": 7, "message": 8}).SerializeToString()).message == 8


def test_without_scripts_there_is_no_service() -> None:
    assert Snapshot().files() == {}


@pytest.mark.parametrize(
    ("kind", "value", "fitted"),
    [
        (FieldType.DOUBLE, 2, 2.0),
        (FieldType.INT, 2, 2),
        (FieldType.INT, 2.0, 2),
        (FieldType.BYTES, "é", "é".encode()),
        (FieldType.BOOL, True, True),
        (FieldType.ANY, [1, {"a": None}], [1, {"a": None}]),
    ],
)
def test_a_value_that_fits(kind: FieldType, value: object, fitted: object) -> None:
    given = Field("x", kind).fitting(value)  # type: ignore[arg-type]
    assert (given, type(given)) == (fitted, type(fitted))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (FieldType.INT, 2.5),
        (FieldType.INT, True),
        (FieldType.BOOL, 1),
        (FieldType.STRING, b"x"),
        (FieldType.DOUBLE, "2"),
    ],
)
def test_a_value_that_does_not(kind: FieldType, value: object) -> None:
    with pytest.raises(TypeError, match="x is a"):
        Field("x", kind).fitting(value)  # type: ignore[arg-type]


def test_arguments_are_those_that_are_declared() -> None:
    blink = script("blink", parameters=(Field("times", FieldType.INT), Field("who", FieldType.STRING, optional=True)))
    assert blink.arguments({"times": 3}) == blink.arguments({"times": "3%"}) == {"times": 3}
    for given in ({}, {"times": "3"}, {"times": 3, "what": 1}, {"times": None}):
        with pytest.raises(InvalidRequestError):
            blink.arguments(given)


def test_one_result_may_come_alone_and_several_come_in_a_map() -> None:
    one, two = (Field("count", FieldType.INT),), (Field("a", FieldType.INT), Field("b", FieldType.INT, optional=True))
    assert script("x", results=one).result(3) == script("x", results=one).result({"count": 3}) == {"count": 3}
    assert script("x", results=two).result({"a": 1, "more": 2}) == {"a": 1}
    for wrong in (3, {}, {"a": "x"}, None):
        with pytest.raises(UndeclaredResultError):
            script("x", results=two).result(wrong)  # type: ignore[arg-type]
