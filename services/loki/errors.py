"""Every way in which a script, or the service that runs it, fails. The mapping to gRPC status is the chassis's."""

from __future__ import annotations

from typing import Any

from services.domain.errors import Code, YggError


class InvalidScriptError(YggError):
    """The request is not one that can be run: source, name, arguments or limits."""

    code, reason = Code.INVALID_ARGUMENT, "INVALID_SCRIPT"


class EngineMissingError(YggError):
    """The engine of the language is not installed on this machine, or does not start."""

    code, reason = Code.UNIMPLEMENTED, "ENGINE_MISSING"


class EngineBusyError(YggError):
    """All workers of the language are taken and the queue is full, or the wait in it was too long."""

    code, reason = Code.RESOURCE_EXHAUSTED, "ENGINE_BUSY"


class PublishError(YggError):
    """A message could not be published."""

    code, reason = Code.UNAVAILABLE, "NOT_PUBLISHED"


class ProgramOnlyError(YggError):
    """What only a program can have was asked for by a script that is run once."""

    code, reason = Code.FAILED_PRECONDITION, "PROGRAM_ONLY"

    def __init__(self, operation: str) -> None:
        what = "own events" if operation == "emit" else "store"
        super().__init__(
            f"a script that is run once has no {what}, only a program has",
            hint="Deploy it as a program:  ygg program deploy FILE -d DEVICE",
        )


_CODES = {
    "SYNTAX": Code.INVALID_ARGUMENT,
    "SCRIPT_ERROR": Code.FAILED_PRECONDITION,
    "TIMEOUT": Code.DEADLINE_EXCEEDED,
    "MEMORY": Code.RESOURCE_EXHAUSTED,
    "OUTPUT": Code.RESOURCE_EXHAUSTED,
    "CRASH": Code.INTERNAL,
}


class ScriptError(YggError):
    """A script that ended without a result.

    `reason` and `code` are of the instance: SYNTAX, SCRIPT_ERROR, TIMEOUT, MEMORY, OUTPUT or CRASH with the code that
    loki.proto states, or those of the call on the host that the script did not catch. `line` is 0 where unknown.
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
        self.reason = reason  # type: ignore[misc]
        self.code = code or _CODES.get(reason, Code.FAILED_PRECONDITION)  # type: ignore[misc]
        self.line = line
        self.traceback = traceback
        self.details: tuple[Any, ...] = ()
