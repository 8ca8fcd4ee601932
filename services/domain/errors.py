"""The root of every error that a caller of the mesh can see.

Owns the kinds of failure and the data that an error carries. Does not know gRPC: `services.chassis.status` maps
`Code` to a gRPC status, in one place. Names of the codes follow google.rpc.Code.
"""

from __future__ import annotations

import enum
from typing import ClassVar


class Code(enum.Enum):
    """What kind of failure it is; names as in google.rpc.Code."""

    INVALID_ARGUMENT = "invalid_argument"
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    PERMISSION_DENIED = "permission_denied"
    UNAUTHENTICATED = "unauthenticated"
    FAILED_PRECONDITION = "failed_precondition"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    ABORTED = "aborted"
    OUT_OF_RANGE = "out_of_range"
    UNIMPLEMENTED = "unimplemented"
    UNAVAILABLE = "unavailable"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    DATA_LOSS = "data_loss"
    INTERNAL = "internal"


class YggError(Exception):
    """A failure with a message for people and data for programs.

    `code` and `reason` belong to the class; `hint` says what to do next and may be empty; every other keyword
    becomes an entry of `data`.
    """

    code: ClassVar[Code] = Code.INTERNAL
    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, hint: str = "", **data: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.data = {key: str(value) for key, value in data.items()}


class InvalidIdError(YggError):
    """An id that does not follow its grammar."""

    code, reason = Code.INVALID_ARGUMENT, "INVALID_ID"


class InvalidRequestError(YggError):
    """A field of a request is missing or out of its bounds."""

    code, reason = Code.INVALID_ARGUMENT, "INVALID_REQUEST"


class MalformedCapabilityError(YggError):
    """A capability's description breaks a rule."""

    code, reason = Code.INVALID_ARGUMENT, "MALFORMED_CAPABILITY"


class ContractError(YggError):
    """What was asked is not in the device's contract; nothing was sent to the device."""

    code, reason = Code.FAILED_PRECONDITION, "NOT_IN_CONTRACT"


class ArgumentError(ContractError):
    """An argument is missing, unknown, of the wrong type or out of the contract's bounds."""

    reason = "ARGUMENT_NOT_IN_CONTRACT"
