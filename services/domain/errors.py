"""The root of every error that a caller of the mesh can see, and the errors that several services share.

Owns the data that an error carries. Code and retry delay come from the catalogue (errors.toml) by the reason. Does not
know gRPC: `services.chassis.status` maps an error to a gRPC status.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from services.domain.reasons import Code, Reason

__all__ = [
    "ArgumentError",
    "Code",
    "ContractError",
    "FieldViolation",
    "InvalidIdError",
    "InvalidRequestError",
    "MalformedCapabilityError",
    "Reason",
    "YggError",
    "in_field",
]


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """An invalid field of a request; `field` is its path in the message, such as `records.labels`."""

    field: str
    description: str


class YggError(Exception):
    """A failure with a message for people and data for programs.

    A class names its `reason` (`class ImageNotFoundError(YggError, reason=Reason.IMAGE_NOT_FOUND)`), which sets `code`
    and `retry_after_s`: the delay in seconds before the same request may be repeated, None if it must not be.
    `hint` is the next step for people and may be empty; `field` is the request's field that is invalid; every other
    keyword becomes an entry of `data`.
    """

    code: Code = Code.INTERNAL
    reason: str = Reason.INTERNAL.value
    retry_after_s: float | None = None

    def __init_subclass__(cls, *, reason: Reason | None = None, **rest: object) -> None:
        super().__init_subclass__(**rest)
        if reason is not None:
            cls.code, cls.reason, cls.retry_after_s = reason.code, reason.value, reason.retry_after_s

    def __init__(self, message: str, *, hint: str = "", field: str = "", **data: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.violations: tuple[FieldViolation, ...] = (FieldViolation(field, message),) if field else ()
        self.data = {key: str(value) for key, value in data.items()}


@contextlib.contextmanager
def in_field(path: str) -> Iterator[None]:
    """Prefix the field of an INVALID_ARGUMENT error of this block with `path`; if it names no field, it is `path`."""
    try:
        yield
    except YggError as e:
        if e.code is Code.INVALID_ARGUMENT:
            inner = e.violations or (FieldViolation("", e.message),)
            e.violations = tuple(FieldViolation(f"{path}.{v.field}".rstrip("."), v.description) for v in inner)
        raise


class InvalidIdError(YggError, reason=Reason.INVALID_ID):
    """An id does not match its grammar."""


class InvalidRequestError(YggError, reason=Reason.INVALID_REQUEST):
    """A field of a request is missing or out of bounds."""


class MalformedCapabilityError(YggError, reason=Reason.MALFORMED_CAPABILITY):
    """A capability description breaks a rule."""


class ContractError(YggError, reason=Reason.NOT_IN_CONTRACT):
    """The device's contract has no such capability or member; nothing was sent to the device."""


class ArgumentError(ContractError, reason=Reason.ARGUMENT_NOT_IN_CONTRACT):
    """An argument is missing, unknown, of the wrong type or out of the contract's bounds."""
