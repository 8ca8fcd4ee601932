"""From any error a command can end with to what a person reads and what a script gets: text, JSON, exit code."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field

from rich.text import Text

from services.domain.errors import Code, YggError
from ygg.exits import CliError, Exit
from ygg.output import Output, safe

MAX_MESSAGE = 2000
NOTHING_SENT = "nothing was sent to the device"
_EXITS = {
    Code.INVALID_ARGUMENT: Exit.USAGE,
    Code.OUT_OF_RANGE: Exit.USAGE,
    Code.NOT_FOUND: Exit.NOT_FOUND,
    Code.UNAVAILABLE: Exit.UNREACHABLE,
    Code.PERMISSION_DENIED: Exit.DENIED,
    Code.UNAUTHENTICATED: Exit.DENIED,
    Code.DEADLINE_EXCEEDED: Exit.TIMEOUT,
}
# Reasons by which the bridge says that the contract forbids it; other FAILED_PRECONDITIONs are plain failures.
_REFUSALS = frozenset({"NOT_IN_CONTRACT", "ARGUMENT_NOT_IN_CONTRACT"})
# Faults of a script itself, whatever their status; the command line was right.
_SCRIPT_FAULTS = frozenset({"SYNTAX", "SCRIPT_ERROR", "MEMORY", "OUTPUT", "CRASH"})


@dataclass(frozen=True, slots=True)
class Failure:
    """How a command ended, ready to show."""

    message: str
    code: Exit
    hint: str = ""
    note: str = ""
    reason: str = ""
    status: str = ""
    data: dict[str, str] = field(default_factory=dict)


def describe(error: BaseException) -> Failure | None:
    """What to show for `error`; None for one that is a fault of `ygg` itself and deserves its traceback."""
    if isinstance(error, CliError):
        return Failure(error.message, error.code, error.hint, error.note)
    if isinstance(error, YggError):
        return _of_mesh(error)
    if callable(getattr(error, "format_message", None)):  # typer's errors of usage have no common public base
        return _of_usage(error)
    if isinstance(error, PermissionError):
        return Failure(f"{error.filename}: permission denied", Exit.FAILED, "Run it as the owner of that file.")
    if isinstance(error, OSError) and error.filename:
        return Failure(f"{error.filename}: {error.strerror}", Exit.FAILED)
    return None


def show(failure: Failure, *, as_json: bool) -> None:
    """Print to standard error."""
    if as_json:
        entry = {
            "message": failure.message,
            "hint": failure.hint,
            "status": failure.status,
            "reason": failure.reason,
            "data": failure.data,
            "exit": int(failure.code),
        }
        sys.stderr.write(json.dumps({"error": entry}, ensure_ascii=False) + "\n")
        return
    out = Output()
    text = Text("error: ", style="bold red").append(failure.message, style="not bold default")
    if failure.note:
        text.append(f"      ({failure.note})", style="not bold dim")
    out.remarks.print(text)
    if failure.hint:
        out.remark(f"  {failure.hint}")


def _of_mesh(error: YggError) -> Failure:
    code = _EXITS.get(error.code, Exit.FAILED)
    if error.reason in _REFUSALS:
        code = Exit.REFUSED
    elif error.reason in _SCRIPT_FAULTS:
        code = Exit.FAILED
    status = error.code.name
    fate = error.data.get("fate", NOTHING_SENT if error.reason in _REFUSALS else "")
    data = {key: safe(value, MAX_MESSAGE) for key, value in error.data.items() if key != "fate"}
    return Failure(
        message=_lines(error.message),
        code=code,
        hint=_lines(error.hint),
        note=f"{status}, {fate}" if fate else status,
        reason=error.reason,
        status=status,
        data=data,
    )


def _of_usage(error: BaseException) -> Failure:
    message: str = error.format_message()  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    hint = f"Help:  {context.command_path} --help" if context else "Help:  ygg --help"
    return Failure(message.rstrip("."), Exit.USAGE, hint)


def _lines(text: str) -> str:
    """Text from the mesh, printable line by line: a device's name may be in it."""
    return "\n  ".join(safe(line, MAX_MESSAGE) for line in text.splitlines())
