"""Errors to gRPC status and back: nothing of an error is lost between two services."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from services.chassis import status
from services.chassis.errors import RemoteError
from services.domain.errors import ArgumentError, Code, YggError
from tests.fixtures.strategies import texts

PLAIN = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


class Answer(grpc.RpcError):
    """A failed call as a peer's status makes it."""

    def __init__(self, code: grpc.StatusCode, text: str, metadata: tuple[tuple[str, bytes], ...] = ()) -> None:
        self._code, self._text, self._metadata = code, text, metadata

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._text

    def trailing_metadata(self) -> Any:
        return (("other", b"x"), *self._metadata)


@given(
    st.sampled_from(Code),
    PLAIN,
    texts,
    texts,
    st.dictionaries(st.from_regex(r"\A[a-z_]{1,10}\Z").filter(lambda key: key not in ("hint", "message")), texts),
)
def test_an_error_comes_back_as_it_was(code: Code, reason: str, message: str, hint: str, data: dict[str, str]) -> None:
    error = RemoteError(code, reason, message, hint=hint, **{f"d_{key}": value for key, value in data.items()})
    back = status.from_rpc(Answer(*status.to_status(error)), "the peer")
    assert (back.code, back.reason, back.message, back.hint, back.data) == (code, reason, message, hint, error.data)


def test_every_code_is_a_grpc_code_of_the_same_name() -> None:
    for code in Code:
        assert status.to_status(RemoteError(code, "R", "m"))[0].name == code.name
        assert status.code_of_number(status.code_number(code)) is code
    assert {code.name for code in Code} | {"OK", "CANCELLED", "UNKNOWN"} == {code.name for code in grpc.StatusCode}
    assert status.code_of_number(0) is Code.INTERNAL
    assert status.code_of_number(999) is Code.INTERNAL


def test_an_error_class_gives_code_and_reason_and_data() -> None:
    error = ArgumentError("period_ms is 1", hint="Take 50.", argument="period_ms", minimum=50)
    code, text, metadata = status.to_status(error)
    assert (code, text) == (grpc.StatusCode.FAILED_PRECONDITION, "period_ms is 1. Take 50.")
    info = status.error_info(Answer(code, text, metadata))
    assert info is not None
    assert (info.reason, info.domain) == ("ARGUMENT_NOT_IN_CONTRACT", "yggdrasil")
    assert dict(info.metadata) == {"argument": "period_ms", "minimum": "50", "hint": "Take 50."}


def test_further_details_travel_with_it() -> None:
    class SlowError(YggError):
        details = (Duration(seconds=7),)

    answer, into = Answer(*status.to_status(SlowError("slow"))), Duration()
    assert status.unpack_detail(answer, into)
    assert into.seconds == 7
    assert status.error_info(answer) is not None
    assert not status.unpack_detail(Answer(*status.to_status(YggError("fast"))), Duration())


def test_a_peer_that_cannot_be_reached_is_named() -> None:
    back = status.from_rpc(Answer(grpc.StatusCode.UNAVAILABLE, "ipv4:127.0.0.1:1: connection refused"), "the registry")
    assert (back.code, back.message) == (Code.UNAVAILABLE, "the registry cannot be reached")


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_a_status_that_is_not_ours_keeps_its_code_where_we_have_it(code: grpc.StatusCode) -> None:
    back = status.from_rpc(Answer(code, "text"), "the peer")
    assert back.code.name == (code.name if code.name in Code.__members__ else "INTERNAL")


def test_damaged_details_of_a_peer_do_not_hide_its_status() -> None:
    answer = Answer(grpc.StatusCode.NOT_FOUND, "gone", ((status.DETAILS_KEY, b"\xff\xff\xff"),))
    back = status.from_rpc(answer, "the peer")
    assert (back.code, back.message) == (Code.NOT_FOUND, "the peer: gone")


def test_two_errors_do_not_share_their_kind() -> None:
    first = RemoteError(Code.NOT_FOUND, "FIRST", "a")
    second = RemoteError(Code.ABORTED, "SECOND", "b")
    assert (first.code, first.reason, second.code, second.reason) == (
        Code.NOT_FOUND,
        "FIRST",
        Code.ABORTED,
        "SECOND",
    )
