"""Errors to gRPC status and back: nothing of an error is lost between two services."""

from __future__ import annotations

import base64
import urllib.parse
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.chassis import status
from services.chassis.errors import RemoteError, StoreFullError, StoreUnavailableError
from services.domain.errors import ArgumentError, Code, FieldViolation, InvalidRequestError, YggError
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


VIOLATIONS = st.lists(st.builds(FieldViolation, PLAIN, PLAIN), max_size=3).map(tuple)
DELAYS = st.none() | st.integers(0, 10**9).map(lambda millis: millis / 1000)


@st.composite
def errors(draw: st.DrawFn) -> RemoteError:
    error = RemoteError(draw(st.sampled_from(Code)), draw(PLAIN), draw(texts), hint=draw(texts))
    error.data = draw(st.dictionaries(st.from_regex(r"\A[a-z_]{1,10}\Z").filter(lambda key: key != "hint"), texts))
    error.violations, error.retry_after_s = draw(VIOLATIONS), draw(DELAYS)
    return error


@given(errors())
def test_error_is_the_same_after_a_status(error: RemoteError) -> None:
    back = status.from_rpc(Answer(*status.to_status(error)), "the peer")
    assert vars(back) == vars(error)


@given(errors())
def test_error_is_the_same_after_a_failure(error: RemoteError) -> None:
    assert vars(status.from_failure(status.to_failure(error))) == vars(error)


@pytest.mark.parametrize("letter", ["a", "%", "é", "語", "\U0001f332"])
def test_trailers_stay_within_the_limit_of_clients(letter: str) -> None:
    class LargeError(StoreUnavailableError):
        details = (Duration(seconds=7),) * 1000

    long = letter * 100_000
    error = LargeError(long, hint=long, **{f"key_{number}": long for number in range(8)})
    error.violations = (FieldViolation(long, long),) * 100
    code, text, ((_, data),) = status.to_status(error)
    assert len(urllib.parse.quote(text)) + len(base64.b64encode(data)) < 8 * 1024
    back = status.from_rpc(Answer(code, text, ((status.DETAILS_KEY, data),)), "the peer")
    assert (back.code, back.reason, back.message[:3]) == (Code.UNAVAILABLE, "STORE_UNAVAILABLE", letter * 3)


def test_retryable_error_carries_retry_info() -> None:
    retry = error_details_pb2.RetryInfo()
    assert status.unpack_detail(Answer(*status.to_status(StoreUnavailableError("away"))), retry)
    assert retry.retry_delay == Duration(seconds=1)
    assert not status.unpack_detail(Answer(*status.to_status(StoreFullError("full"))), retry)


def test_invalid_field_carries_bad_request() -> None:
    bad = error_details_pb2.BadRequest()
    assert status.unpack_detail(Answer(*status.to_status(InvalidRequestError("it is 7", field="page_size"))), bad)
    assert [(one.field, one.description) for one in bad.field_violations] == [("page_size", "it is 7")]
    assert not status.unpack_detail(Answer(*status.to_status(InvalidRequestError("it is 7"))), bad)


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
def test_foreign_status_keeps_a_known_code(code: grpc.StatusCode) -> None:
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
