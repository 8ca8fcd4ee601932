"""Frames and values between the service and its workers: invalid ones are rejected, never guessed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import InvalidRequestError
from services.domain.values import INT_MAX, INT_MIN, Value
from services.loki.engines import wire
from services.loki.engines.wire import Kind, WireError

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(INT_MIN, INT_MAX),
        st.floats(allow_nan=False),
        st.text(),
        st.binary(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text("ab"), inner, max_size=4)),
    max_leaves=10,
)


@given(values)
def test_value_survives_a_round_trip(value: Value) -> None:
    assert repr(wire.from_json(wire.load(wire.dump(wire.to_json(value))))) == repr(value)


def test_a_frame_is_its_header_and_its_payload() -> None:
    data = wire.frame(Kind.CALL, 7, b'["time"]')
    assert data[:9] == bytes([0, 0, 0, 13, 66, 0, 0, 0, 7])
    assert wire.unpack_header(data[:9]) == (Kind.CALL, 7, 8)
    assert data[9:] == b'["time"]'


@pytest.mark.parametrize(
    "header",
    [
        bytes([0, 0, 0, 4, 66, 0, 0, 0, 7]),  # shorter than its own head
        bytes([255, 255, 255, 255, 66, 0, 0, 0, 7]),
        bytes([0, 64, 0, 6, 66, 0, 0, 0, 7]),  # one byte too long
        bytes([0, 0, 0, 5, 200, 0, 0, 0, 7]),  # no such kind
    ],
)
def test_a_header_that_cannot_be_is_refused(header: bytes) -> None:
    with pytest.raises(WireError):
        wire.unpack_header(header)


def test_a_payload_too_long_is_not_sent() -> None:
    with pytest.raises(WireError):
        wire.frame(Kind.DONE, 1, b"x" * (wire.MAX_FRAME_BYTES + 1))


@pytest.mark.parametrize(
    "content",
    [{"x": 1}, {}, {"b": "not base64!"}, {"b": 5}, {"m": 5}, [{"y": 1}], {"m": {"a": {"z": 1}}}],
    ids=json.dumps,
)
def test_json_without_a_value_form_is_refused(content: object) -> None:
    with pytest.raises(WireError):
        wire.from_json(content)


def test_a_value_too_wide_or_too_deep_is_refused() -> None:
    with pytest.raises(InvalidRequestError):
        wire.from_json(2**63)
    deep: object = 1
    for _ in range(18):
        deep = [deep]
    with pytest.raises(InvalidRequestError):
        wire.from_json(deep)


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"[" * 200_000], ids=["empty", "open", "no text", "deep"])
def test_a_payload_that_is_not_json_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        wire.load(payload)
