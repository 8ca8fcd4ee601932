"""The bounds of a run, as loki.proto states them."""

from __future__ import annotations

import pytest

from services.domain.errors import InvalidIdError, InvalidRequestError
from services.domain.values import Value
from services.loki import model
from services.loki.errors import InvalidScriptError
from services.loki.model import MIB, Language, Limits


def test_omitted_fields_take_defaults() -> None:
    assert model.limits(0, 0, 0) == Limits(10.0, 16 * MIB, 64 * 1024)


def test_limits_at_their_bounds_are_taken() -> None:
    assert model.limits(300, 256 * MIB, MIB) == Limits(300, 256 * MIB, MIB)
    assert model.limits(0.001, MIB, 1) == Limits(0.001, MIB, 1)


@pytest.mark.parametrize(
    "given",
    [(300.1, 0, 0), (-1, 0, 0), (float("nan"), 0, 0), (0, 256 * MIB + 1, 0), (0, MIB - 1, 0), (0, 0, MIB + 1)],
    ids=str,
)
def test_limits_beyond_their_bounds_are_refused(given: tuple[float, int, int]) -> None:
    with pytest.raises(InvalidScriptError, match="are allowed"):
        model.limits(*given)


def test_the_largest_source_is_taken_and_one_byte_more_is_not() -> None:
    model.script("x" * model.MAX_SOURCE_BYTES, Language.LUA)
    with pytest.raises(InvalidScriptError, match="262145 bytes"):
        model.script("x" * (model.MAX_SOURCE_BYTES + 1), Language.LUA)


def test_the_size_of_a_source_is_that_of_its_bytes() -> None:
    with pytest.raises(InvalidScriptError):
        model.script("é" * (model.MAX_SOURCE_BYTES // 2 + 1), Language.LUA)


@pytest.mark.parametrize("source", ["", " \n\t", "return 1\0"], ids=repr)
def test_source_that_is_not_text_is_refused(source: str) -> None:
    with pytest.raises(InvalidScriptError):
        model.script(source, Language.LUA)


def test_a_device_id_is_checked() -> None:
    with pytest.raises(InvalidIdError):
        model.script("x", Language.LUA, device_id="no such id!")


def test_a_name_too_long_is_refused() -> None:
    model.script("x", Language.LUA, name="n" * 255)
    with pytest.raises(InvalidScriptError):
        model.script("x", Language.LUA, name="n" * 256)


def test_arguments_are_checked() -> None:
    deep: Value = 1
    for _ in range(20):
        deep = [deep]
    with pytest.raises(InvalidRequestError):
        model.script("x", Language.LUA, arguments={"a": deep})
    with pytest.raises(InvalidScriptError, match="65 arguments"):
        model.script("x", Language.LUA, arguments={f"a{i}": i for i in range(65)})


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("blink.lua", "blink"),
        ("examples/Sweep Fleet.lua", "sweep_fleet"),
        ("alarm", "alarm"),
        ("9lives.scm", "s_9lives"),
        ("", "script"),
        ("***", "s"),
        ("é.lua", "s"),
        ("x" * 100, "x" * 32),
        (".hidden", "hidden"),
    ],
)
def test_a_name_becomes_an_id_that_is_safe_in_subjects(name: str, token: str) -> None:
    from services.domain import ids

    got = model.script("x", Language.LUA, name=name).token
    assert got == token
    assert ids.member_id(got)


def test_a_name_for_messages_is_printable() -> None:
    assert model.script("x", Language.LUA, name="a\nb\x1b[31m").name == "a?b?[31m"
