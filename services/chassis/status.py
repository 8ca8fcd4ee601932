"""Errors and gRPC status, mapped in this one place, both ways.

A status carries google.rpc.ErrorInfo (reason, domain `yggdrasil`, metadata) so that programs need not read the text.
"""

from __future__ import annotations

import contextlib

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from services.chassis.errors import RemoteError
from services.domain.errors import Code, YggError
from yggdrasil.common.v1 import failure_pb2

DOMAIN = "yggdrasil"
DETAILS_KEY = "grpc-status-details-bin"
MAX_TEXT = 1024
MAX_DATA = 256
MAX_DETAILS_BYTES = 4096
_TO_GRPC = {code: grpc.StatusCode[code.name] for code in Code}
_FROM_GRPC = {status: code for code, status in _TO_GRPC.items()}


def code_number(code: Code) -> int:
    """The number of the google.rpc.Code."""
    number: int = _TO_GRPC[code].value[0]
    return number


def code_of_number(number: int) -> Code:
    """The code of a google.rpc.Code; INTERNAL for one that is none of ours."""
    return next((code for code in Code if code_number(code) == number), Code.INTERNAL)


def to_status(error: YggError) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """Code, text and trailing metadata for an error.

    An error with an attribute `details` (protobuf messages) adds them after the ErrorInfo. All of it travels in
    trailers, which clients bound at 8 KiB by default and else drop, code and all: message and hint are cut to MAX_TEXT
    characters, data to MAX_DATA, and details beyond MAX_DETAILS_BYTES are left out.
    """
    code = _TO_GRPC[error.code]
    message, hint = _cut(error.message, MAX_TEXT), _cut(error.hint, MAX_TEXT)
    text = f"{message}. {hint}" if hint else message
    metadata = {key: _cut(value, MAX_DATA) for key, value in error.data.items()} | ({"hint": hint} if hint else {})
    status = status_pb2.Status(code=code.value[0], message=text)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    left = MAX_DETAILS_BYTES
    for detail in getattr(error, "details", ()):
        left -= detail.ByteSize()
        if left >= 0:
            status.details.add().Pack(detail)
    return code, text, ((DETAILS_KEY, status.SerializeToString()),)


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 1] + "…"


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo | None:
    """The ErrorInfo of a failed call, where the peer sent one."""
    info = error_details_pb2.ErrorInfo()
    return info if unpack_detail(error, info) else None


def unpack_detail(error: grpc.RpcError, into: Message) -> bool:
    """Fills `into` from the first detail of its type that the peer sent; False where there is none that is whole."""
    for key, value in getattr(error, "trailing_metadata", tuple)() or ():
        if key == DETAILS_KEY:
            with contextlib.suppress(DecodeError):
                return any(detail.Unpack(into) for detail in status_pb2.Status.FromString(value).details)
    return False


def from_rpc(error: grpc.RpcError, what: str) -> RemoteError:
    """What a peer answered, as an error of ours that keeps its code. `what` names the peer, such as `the registry`."""
    status = error.code()
    info = error_info(error)
    if info is not None and info.domain == DOMAIN:
        data = dict(info.metadata)
        hint = data.pop("hint", "")
        message = (error.details() or "").removesuffix(f". {hint}") if hint else error.details() or ""
        return RemoteError(_FROM_GRPC.get(status, Code.INTERNAL), info.reason, message, hint=hint, **data)
    if status is grpc.StatusCode.UNAVAILABLE:
        return RemoteError(
            Code.UNAVAILABLE, "SERVICE_UNAVAILABLE", f"{what} cannot be reached", hint="Try again in a moment."
        )
    return RemoteError(_FROM_GRPC.get(status, Code.INTERNAL), "REMOTE", f"{what}: {error.details()}")


def to_failure(error: YggError) -> failure_pb2.Failure:
    """An error as one message among many, where a stream carries many answers."""
    return failure_pb2.Failure(
        code=code_number(error.code),
        reason=error.reason,
        message=error.message,
        hint=error.hint,
        metadata=error.data,
    )


def from_failure(failure: failure_pb2.Failure) -> RemoteError:
    """The error that `to_failure` was given, as one of a peer."""
    code = code_of_number(failure.code)
    return RemoteError(code, failure.reason, failure.message, hint=failure.hint, **dict(failure.metadata))
