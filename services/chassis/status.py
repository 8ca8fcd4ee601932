"""Errors to gRPC status and back, for every service.

The details of a status are those of google.rpc: ErrorInfo always (reason, domain `yggdrasil`, metadata), BadRequest if
the error names invalid fields, RetryInfo if the request may be repeated. In a response with many outcomes, a
Failure carries the same (ADR 0014).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from services.chassis.errors import RemoteError
from services.domain.errors import Code, FieldViolation, Reason, YggError
from yggdrasil.common.v1 import failure_pb2

DOMAIN = "yggdrasil"
DETAILS_KEY = "grpc-status-details-bin"
MAX_TRAILER_BYTES = 7 * 1024
"""Of message and details as they are transmitted; clients reject metadata of more than 8 KiB, status code and all."""
_LIMITS = ((1024, 256, 4096), (512, 128, 4096), (256, 64, 4096), (128, 32, 4096), (128, 32, 512))
"""Characters of a text and of a data value, and bytes of the details after ErrorInfo: the first that fits is taken."""
_TO_GRPC = {code: grpc.StatusCode[code.name] for code in Code}
_FROM_GRPC = {status: code for code, status in _TO_GRPC.items()}
Trailers = tuple[tuple[str, bytes], ...]


def code_number(code: Code) -> int:
    """Return the number of the google.rpc.Code."""
    number: int = _TO_GRPC[code].value[0]
    return number


def code_of_number(number: int) -> Code:
    """Return the code with this number of google.rpc.Code; INTERNAL for an unknown number."""
    return next((code for code in Code if code_number(code) == number), Code.INTERNAL)


def to_status(error: YggError) -> tuple[grpc.StatusCode, str, Trailers]:
    """Return code, message and trailing metadata of an error.

    An error with an attribute `details` (protobuf messages) adds them after those of google.rpc. To fit
    MAX_TRAILER_BYTES, texts and data are shortened and the last details left out.
    """
    code = _TO_GRPC[error.code]
    for limits in _LIMITS:
        status = _status(error, *limits)
        data = status.SerializeToString()
        if _encoded_bytes(status.message) + len(data) * 4 // 3 <= MAX_TRAILER_BYTES:
            break
    return code, status.message, ((DETAILS_KEY, data),)


def _status(error: YggError, max_text: int, max_data: int, max_details_bytes: int) -> status_pb2.Status:
    message, hint = _cut(error.message, max_text), _cut(error.hint, max_text)
    metadata = {key: _cut(value, max_data) for key, value in error.data.items()} | ({"hint": hint} if hint else {})
    status = status_pb2.Status(code=code_number(error.code), message=f"{message}. {hint}" if hint else message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    for detail in (*_google_details(error, max_data), *getattr(error, "details", ())):
        max_details_bytes -= detail.ByteSize()
        if max_details_bytes >= 0:
            status.details.add().Pack(detail)
    return status


def _google_details(error: YggError, max_data: int) -> Iterable[Message]:
    if error.retry_after_s is not None:
        yield error_details_pb2.RetryInfo(retry_delay=_duration(error.retry_after_s))
    if error.violations:
        bad = error_details_pb2.BadRequest()
        for one in error.violations:
            bad.field_violations.add(field=_cut(one.field, max_data), description=_cut(one.description, max_data))
        yield bad


def _encoded_bytes(text: str) -> int:
    """Return the length of the percent-encoded text, as gRPC sends a message."""
    return sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in text.encode())


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 1] + "…"


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _seconds(duration: Duration) -> float:
    return max(0.0, duration.ToNanoseconds() / 1e9)


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo | None:
    """Return the ErrorInfo of a failed call, or None if the peer sent none."""
    info = error_details_pb2.ErrorInfo()
    return info if unpack_detail(error, info) else None


def unpack_detail(error: grpc.RpcError, into: Message) -> bool:
    """Fill `into` from the first detail of its type; return False unless the peer sent a decodable one."""
    for key, value in getattr(error, "trailing_metadata", tuple)() or ():
        if key == DETAILS_KEY:
            try:
                return any(detail.Unpack(into) for detail in status_pb2.Status.FromString(value).details)
            except DecodeError:
                return False
    return False


def from_rpc(error: grpc.RpcError, peer: str) -> RemoteError:
    """Return the peer's failure as an error that keeps code and details. `peer` is a name such as `the registry`."""
    status = error.code()
    code = _FROM_GRPC.get(status, Code.INTERNAL)
    info = error_info(error)
    if info is not None and info.domain == DOMAIN:
        data = dict(info.metadata)
        hint = data.pop("hint", "")
        message = (error.details() or "").removesuffix(f". {hint}") if hint else error.details() or ""
        bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        unpack_detail(error, bad)
        retryable = unpack_detail(error, retry)
        return _remote(
            RemoteError(code, info.reason, message, hint=hint),
            data,
            [FieldViolation(one.field, one.description) for one in bad.field_violations],
            retry.retry_delay if retryable else None,
        )
    if status is grpc.StatusCode.UNAVAILABLE:
        return RemoteError.of(Reason.SERVICE_UNAVAILABLE, f"{peer} cannot be reached", hint="Try again in a moment.")
    return RemoteError(code, Reason.REMOTE.value, f"{peer}: {error.details()}")


def _remote(
    error: RemoteError, data: Mapping[str, str], violations: Iterable[FieldViolation], retry: Duration | None
) -> RemoteError:
    error.data, error.violations = dict(data), tuple(violations)
    error.retry_after_s = None if retry is None else _seconds(retry)
    return error


def to_failure(error: YggError) -> failure_pb2.Failure:
    """Return an error as one outcome of a response that holds many."""
    return failure_pb2.Failure(
        code=code_number(error.code),
        reason=error.reason,
        message=error.message,
        hint=error.hint,
        metadata=error.data,
        violations=[failure_pb2.FieldViolation(field=v.field, description=v.description) for v in error.violations],
        retry_after=None if error.retry_after_s is None else _duration(error.retry_after_s),
    )


def from_failure(failure: failure_pb2.Failure) -> RemoteError:
    """Return the error of which `to_failure` made this, as that of a peer."""
    return _remote(
        RemoteError(code_of_number(failure.code), failure.reason, failure.message, hint=failure.hint),
        failure.metadata,
        [FieldViolation(one.field, one.description) for one in failure.violations],
        failure.retry_after if failure.HasField("retry_after") else None,
    )
