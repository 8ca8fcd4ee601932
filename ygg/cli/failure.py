"""Converts any error that ends a command into text for people, JSON for scripts and the exit code.

Exit codes of errors of the mesh are those of the error catalogue.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.domain.errors import FieldViolation, YggError
from ygg.exit_codes import BY_CODE, BY_REASON
from ygg.exits import CliError, Exit
from ygg.output import Output, safe, to_json

if TYPE_CHECKING:
    from yggdrasil.common.v1 import failure_pb2

MAX_MESSAGE = 2000
NOTHING_SENT = "nothing was sent to the device"


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of a command, ready to be shown."""

    message: str
    code: Exit
    hint: str = ""
    note: str = ""
    reason: str = ""
    status: str = ""
    data: dict[str, str] = field(default_factory=dict)
    violations: tuple[FieldViolation, ...] = ()
    retry_after_s: float | None = None


def describe(error: BaseException) -> Failure:
    """Return what to show for `error`; an unknown one is reported as a fault of `ygg` itself."""
    if isinstance(error, CliError):
        return Failure(error.message, error.code, error.hint, error.note)
    if isinstance(error, YggError):
        return _of_mesh(error)
    if callable(getattr(error, "format_message", None)):  # typer's errors of usage have no common public base
        return _of_usage(error)
    if isinstance(error, OSError):
        return _of_system(error)
    return _of_input(error) or _of_ygg(error)


def entry_of(failure: failure_pb2.Failure) -> dict[str, Any]:
    """Return the JSON of one failed outcome among many."""
    return {
        "reason": failure.reason,
        "message": failure.message,
        "hint": failure.hint,
        "data": dict(failure.metadata),
        "violations": [{"field": one.field, "description": one.description} for one in failure.violations],
        "retry_after_s": failure.retry_after.ToNanoseconds() / 1e9 if failure.HasField("retry_after") else None,
    }


def show(failure: Failure, *, as_json: bool) -> None:
    """Print to standard error, as one JSON object if `as_json`."""
    if as_json:
        entry = {
            "message": failure.message,
            "hint": failure.hint,
            "status": failure.status,
            "reason": failure.reason,
            "data": failure.data,
            "violations": [{"field": one.field, "description": one.description} for one in failure.violations],
            "retry_after_s": failure.retry_after_s,
            "exit": int(failure.code),
        }
        sys.stderr.write(to_json({"error": entry}, sys.stderr) + "\n")
        return
    from rich.text import Text

    out = Output()
    text = Text("error: ", style="bold red").append(failure.message, style="not bold default")
    if failure.note:
        text.append(f"      ({failure.note})", style="not bold dim")
    out.remarks.print(text)
    if failure.hint:
        out.remark(f"  {failure.hint}")


def _of_mesh(error: YggError) -> Failure:
    status = error.code.name
    code = BY_REASON.get(error.reason, BY_CODE[status])
    fate = error.data.get("fate", NOTHING_SENT if code is Exit.REFUSED else "")
    data = {key: safe(value, MAX_MESSAGE) for key, value in error.data.items() if key != "fate"}
    return Failure(
        message=_lines(error.message),
        code=code,
        hint=_lines(error.hint),
        note=f"{status}, {fate}" if fate else status,
        reason=error.reason,
        status=status,
        data=data,
        violations=tuple(
            FieldViolation(safe(one.field, MAX_MESSAGE), safe(one.description, MAX_MESSAGE)) for one in error.violations
        ),
        retry_after_s=error.retry_after_s,
    )


def _of_usage(error: BaseException) -> Failure:
    message: str = error.format_message()  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    hint = f"Help:  {context.command_path} --help" if context else "Help:  ygg --help"
    return Failure(message.rstrip("."), Exit.USAGE, hint)


def _of_input(error: BaseException) -> Failure | None:
    if isinstance(error, RecursionError):
        return Failure("the input is nested too deep", Exit.USAGE)
    if isinstance(error, UnicodeError):
        return Failure(f"text is not valid UTF-8: {safe(error, 200)}", Exit.USAGE)
    return None


def _of_ygg(error: BaseException) -> Failure:
    what = safe(f"{type(error).__name__}: {error}".rstrip(": "), MAX_MESSAGE)
    hint = "This is a fault of ygg, please report it. Its traceback:  YGG_TRACEBACK=1 ygg …"
    return Failure(f"ygg itself failed: {what}", Exit.FAILED, hint)


def _of_system(error: OSError) -> Failure:
    why = error.strerror or str(error)
    if not error.filename:
        return Failure(safe(why, MAX_MESSAGE), Exit.FAILED)
    hint = "Run it as the owner of that file." if isinstance(error, PermissionError) else ""
    return Failure(safe(f"{error.filename}: {why[:1].lower()}{why[1:]}", MAX_MESSAGE), Exit.FAILED, hint)


def _lines(text: str) -> str:
    """Return text from the mesh, which may contain text from a device, as printable lines."""
    return "\n  ".join(safe(line, MAX_MESSAGE) for line in text.splitlines())
