"""Exit codes of `ygg`, stable for scripts. Generated from services/domain/errors.toml by `make gen`; do not edit."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """An exit code of `ygg`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    REFUSED = 5
    DENIED = 6
    TIMEOUT = 7
    INTERRUPTED = 130
    READER_GONE = 141


MEANINGS = {
    Exit.OK: "ok",
    Exit.FAILED: "the operation failed",
    Exit.USAGE: "wrong usage",
    Exit.UNREACHABLE: "not reachable",
    Exit.NOT_FOUND: "not found",
    Exit.REFUSED: "refused by the device's contract",
    Exit.DENIED: "not allowed",
    Exit.TIMEOUT: "timed out",
    Exit.INTERRUPTED: "interrupted",
    Exit.READER_GONE: "its reader closed the pipe",
}
BY_CODE = {
    "INVALID_ARGUMENT": Exit.USAGE,
    "NOT_FOUND": Exit.NOT_FOUND,
    "ALREADY_EXISTS": Exit.FAILED,
    "PERMISSION_DENIED": Exit.DENIED,
    "UNAUTHENTICATED": Exit.DENIED,
    "FAILED_PRECONDITION": Exit.FAILED,
    "RESOURCE_EXHAUSTED": Exit.FAILED,
    "ABORTED": Exit.FAILED,
    "OUT_OF_RANGE": Exit.USAGE,
    "UNIMPLEMENTED": Exit.FAILED,
    "UNAVAILABLE": Exit.UNREACHABLE,
    "DEADLINE_EXCEEDED": Exit.TIMEOUT,
    "DATA_LOSS": Exit.FAILED,
    "INTERNAL": Exit.FAILED,
}
"""By the name of the error's code."""
BY_REASON = {
    "ARGUMENT_NOT_IN_CONTRACT": Exit.REFUSED,
    "NOT_IN_CONTRACT": Exit.REFUSED,
    "SYNTAX": Exit.FAILED,
}
"""Reasons whose exit code differs from that of their code."""
