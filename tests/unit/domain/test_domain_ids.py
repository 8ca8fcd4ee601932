"""The grammars of ids, against their description in words."""

from __future__ import annotations

import string
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.domain import ids
from services.domain.errors import Code, InvalidIdError
from tests.fixtures.strategies import device_ids, member_ids, semantic_types

LOWER, DIGITS = set(string.ascii_lowercase), set(string.digits)
ALPHANUMERIC = LOWER | DIGITS | set(string.ascii_uppercase)
NEAR = st.text(st.sampled_from("az09AZ_-./ \n\0*>é१ａ"), max_size=70) | st.text(max_size=70)


def is_device(text: str) -> bool:
    return 1 <= len(text) <= 63 and set(text) <= LOWER | DIGITS | {"-"} and text[0] != "-"


def is_member(text: str) -> bool:
    return 1 <= len(text) <= 32 and set(text) <= LOWER | DIGITS | {"_"} and text[0] in LOWER


def is_call(text: str) -> bool:
    return 1 <= len(text) <= 36 and set(text) <= ALPHANUMERIC | {"_", "-"}


def is_type(text: str) -> bool:
    parts = text.split(".")
    return len(text) <= 63 and len(parts) >= 2 and all(map(is_member, parts))


def is_digest(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def accepted(check: Callable[[str], str], text: str) -> bool:
    try:
        assert check(text) == text
    except InvalidIdError as e:
        assert e.code is Code.INVALID_ARGUMENT
        assert e.message.isprintable()
        return False
    return True


GRAMMARS = [
    (ids.device_id, is_device),
    (ids.member_id, is_member),
    (ids.call_id, is_call),
    (ids.semantic_type, is_type),
    (ids.digest, is_digest),
]


@given(NEAR | device_ids | member_ids | semantic_types)
@example("")
@example("a\n")
@example("a" * 32)
@example("a" * 33)
@example("a" * 36)
@example("a" * 37)
@example("a" * 63)
@example("a" * 64)
@example("A" * 64)
@example("a." * 31 + "a")
@example("a." * 31 + "ab")
@example("a." * 32 + "a")
@example("a" * 33 + ".a")
@example("-a")
@example("a-")
@example("a.b\n")
@example("a..b")
@example(".a.b")
@example("a.b.")
def test_ids_match_exactly_their_description(text: str) -> None:
    for check, described in GRAMMARS:
        assert accepted(check, text) is described(text), check.__name__


@given(device_ids)
def test_generated_device_ids_are_device_ids(text: str) -> None:
    assert ids.device_id(text) == text


@given(st.dictionaries(NEAR, NEAR, max_size=3))
@example({"a" * 63: "A" * 63})
@example({"a" * 64: ""})
@example({"a": "A" * 64})
@example({"a/b.c_d-e": ""})
@example({"a-": "x"})
@example({"a": "x\n"})
def test_labels_match_exactly_their_description(labels: dict[str, str]) -> None:
    def is_key(text: str) -> bool:
        inside = LOWER | DIGITS | set("_./-")
        edges = bool(text) and text[0] in LOWER and text[-1] in LOWER | DIGITS
        return 1 <= len(text) <= 63 and set(text) <= inside and edges

    def is_value(text: str) -> bool:
        return len(text) <= 63 and set(text) <= ALPHANUMERIC | set("_.-")

    wanted = all(is_key(key) and is_value(value) for key, value in labels.items())
    try:
        found = ids.labels(labels)
    except InvalidIdError:
        assert not wanted
    else:
        assert wanted
        assert found == labels
        assert found is not labels


def test_a_device_has_a_bounded_number_of_labels() -> None:
    most = {f"k{n}": "" for n in range(ids.MAX_LABELS)}
    assert ids.labels(most) == most
    with pytest.raises(InvalidIdError, match="33 labels"):
        ids.labels({**most, "more": ""})


@given(st.text(), st.integers(1, 100))
@example("\x1b[2J\r\n", 64)
@example("\u202egnp.exe", 64)
@example("\ud800", 64)
def test_text_from_outside_is_made_printable_and_short(text: str, limit: int) -> None:
    shown = ids.printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    if text.isprintable() and len(text) <= limit:
        assert shown == text


def test_refusal_states_grammar_and_escapes_the_id() -> None:
    with pytest.raises(InvalidIdError) as e:
        ids.device_id("Porch\x1b[2J")
    assert e.value.message == "'Porch?[2J' is not a device id"
    assert e.value.hint == "A device id is 1 to 63 of a-z, 0-9 and -, and does not begin with -."
    assert e.value.data == {"value": "Porch?[2J"}
