"""The exceptions that end a command of `ygg` with an exit code. The codes are those of the error catalogue."""

from __future__ import annotations

from ygg.exit_codes import Exit

__all__ = ["CliError", "Exit", "UsageError"]


class CliError(Exception):
    """Ends a command.

    `message` is one line; `hint` is the next step and may be empty; `note` is a short technical remark shown in
    brackets, such as the gRPC status.
    """

    def __init__(self, message: str, *, hint: str = "", note: str = "", code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.note = note
        self.code = code


class UsageError(CliError):
    """The command line is invalid; nothing was executed."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint, code=Exit.USAGE)
