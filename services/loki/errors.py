"""Errors of scripts and of the service that runs them."""

from __future__ import annotations

from typing import Any

from services.domain.errors import Code, Reason, YggError


class InvalidScriptError(YggError, reason=Reason.INVALID_SCRIPT):
    """The script cannot be run: source, name, arguments or limits are invalid."""


class EngineMissingError(YggError, reason=Reason.ENGINE_MISSING):
    """The engine of the language is not installed here, or does not start."""


class EngineBusyError(YggError, reason=Reason.ENGINE_BUSY):
    """All workers of the language are busy and the queue is full, or the wait in it timed out."""


class PublishError(YggError, reason=Reason.NOT_PUBLISHED):
    """A message could not be published."""


class ProgramOnlyError(YggError, reason=Reason.PROGRAM_ONLY):
    """A one-off script used an operation that only programs have."""

    def __init__(self, operation: str) -> None:
        what = "own events" if operation == "emit" else "store"
        super().__init__(
            f"a one-off script has no {what}, only programs do",
            hint="Deploy it as a program:  ygg program deploy FILE -d DEVICE",
        )


class ScriptError(YggError):
    """A script that ended without a result.

    `reason` and `code` are of the instance: SYNTAX, SCRIPT_ERROR, TIMEOUT, MEMORY, OUTPUT or CRASH with the code of the
    catalogue, or those of an uncaught error of a host operation. `line` is 0 if unknown.
    `details` are protobuf messages for the status; `services.loki.api` fills them in.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        line: int = 0,
        traceback: str = "",
        code: Code | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        known = Reason.__members__.get(reason)
        self.reason, self.code = reason, code or (known.code if known else Code.FAILED_PRECONDITION)
        self.line = line
        self.traceback = traceback
        self.details: tuple[Any, ...] = ()
