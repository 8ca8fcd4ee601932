"""From any error a command can end with to what a person reads and what a script gets: text, JSON, exit code."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from services.domain.errors import Code, YggError
from ygg.exits import CliError, Exit
from ygg.output import Output, safe, to_json

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


def describe(error: BaseException) -> Failure:
    """What to show for `error`. One that nothing here knows is a fault of `ygg` itself, and says so."""
    if isinstance(error, CliError):
        return Failure(error.message, error.code, error.hint, error.note)
    if isinstance(error, YggError):
        return _of_mesh(error)
    if callable(getattr(error, "format_message", None)):  # typer's errors of usage have no common public base
        return _of_usage(error)
    if isinstance(error, OSError):
        return _of_system(error)
    return _of_input(error) or _of_ygg(error)


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
    """Text from the mesh, printable line by line: a device's name may be in it."""
    return "\n  ".join(safe(line, MAX_MESSAGE) for line in text.splitlines())
