"""Exit codes of `ygg` and the one exception that ends a command.

Owns the meaning of the codes. Does not print: `ygg.cli.run` does, in one place.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the exit code of `ygg` says; stable, for scripts."""

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


class CliError(Exception):
    """A command cannot go on.

    `message` says what is wrong in one line, `hint` what to do about it (may be empty), `note` is the short
    technical remark shown in brackets, such as the gRPC status.
    """

    def __init__(self, message: str, *, hint: str = "", note: str = "", code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.note = note
        self.code = code


class UsageError(CliError):
    """What was typed cannot be right; nothing was tried."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint, code=Exit.USAGE)
