"""The entry point: accepts global options in any position, and converts errors to text and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from ygg.cli.streams import ReaderGoneError, WriteError, discard, open_standard
from ygg.exits import Exit

_VALUED = "--context"
_FLAG = "--json"
TRACEBACK = "YGG_TRACEBACK"
"""Environment variable that enables tracebacks of errors."""


def main() -> None:
    """Run `ygg` with the arguments of this process and exit."""
    try:
        open_standard()
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while Python was still importing
        code = int(Exit.INTERRUPTED)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends the interpreter's shutdown silently
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run `ygg` and flush its output; return the exit code."""
    as_json = _FLAG in arguments
    try:
        try:
            code = _run(arguments)
        except (Exception, KeyboardInterrupt) as e:  # noqa: BLE001 - the top level converts every error
            code = _show_error(e, as_json=as_json)
        sys.stdout.flush()
        sys.stderr.flush()
        return code
    except (ReaderGoneError, BrokenPipeError):
        discard()
        return int(Exit.READER_GONE)
    except WriteError as e:
        return _show_write_error(e, as_json=as_json)


def _run(arguments: Sequence[str]) -> int:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the C core would print handshake errors beside ours
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # the fork handlers can crash a child of `up`
    words = hoist(checked(arguments))
    from ygg.cli.root import command

    result = command()(words, standalone_mode=False, prog_name="ygg")
    return int(result) if isinstance(result, int) else int(Exit.OK)


def checked(arguments: Sequence[str]) -> Sequence[str]:
    """Return the arguments if all are text. Raises UsageError for bytes that are not UTF-8."""
    from ygg.exits import UsageError

    for number, word in enumerate(arguments, 1):
        try:
            word.encode()
        except UnicodeEncodeError as e:
            where = f"argument {number} is not UTF-8 text (character {e.start + 1})"
            raise UsageError(where, hint="Arguments and file names must be UTF-8.") from None
    return arguments


def hoist(arguments: Sequence[str]) -> list[str]:
    """Move `--json` and `--context NAME` to the front, so that they may appear anywhere before a `--`."""
    front: list[str] = []
    rest: list[str] = []
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if word == "--":
            return [*front, *rest, word, *queue]
        if word == _FLAG or word.startswith(f"{_VALUED}="):
            front.append(word)
        elif word == _VALUED and queue:
            front += [word, queue.pop(0)]
        else:
            rest.append(word)
    return [*front, *rest]


def _show_error(error: BaseException, *, as_json: bool) -> int:
    """Print the error; return its exit code."""
    if isinstance(error, WriteError | BrokenPipeError):
        raise error
    import typer

    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return int(Exit.INTERRUPTED)
    if isinstance(error, typer.Exit):
        return int(error.exit_code)
    from ygg.cli.failure import describe, show

    if os.environ.get(TRACEBACK):
        sys.excepthook(type(error), error, error.__traceback__)
    failure = describe(error)
    show(failure, as_json=as_json)
    return int(failure.code)


def _show_write_error(error: WriteError, *, as_json: bool) -> int:
    """Print the error of a result that could not be written."""
    from ygg.cli.failure import describe, show

    try:
        show(describe(error), as_json=as_json)
        sys.stderr.flush()
    except ReaderGoneError:
        pass  # the exit code says it
    discard()
    return int(Exit.FAILED)
