"""The entry point: global options wherever they stand, and the one place where errors become text and exit codes."""

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
"""Environment variable with which a fault of `ygg` itself shows its traceback."""


def main() -> None:
    """Run `ygg` with the arguments of this process and exit."""
    try:
        open_standard()
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while Python was still importing
        code = int(Exit.INTERRUPTED)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends Python's own shutdown without a word
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run `ygg`; returns the exit code, after everything is written."""
    as_json = _FLAG in arguments
    try:
        try:
            code = _run(arguments)
        except (Exception, KeyboardInterrupt) as e:  # noqa: BLE001 - whatever it is, it becomes text
            code = _failed(e, as_json=as_json)
        sys.stdout.flush()
        sys.stderr.flush()
        return code
    except (ReaderGoneError, BrokenPipeError):
        discard()
        return int(Exit.READER_GONE)
    except WriteError as e:
        return _unwritten(e, as_json=as_json)


def _run(arguments: Sequence[str]) -> int:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C core would write handshake errors beside ours
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # its fork handlers can crash a child that `up` starts
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
            raise UsageError(where, hint="Arguments and names of files are UTF-8.") from None
    return arguments


def hoist(arguments: Sequence[str]) -> list[str]:
    """Move `--json` and `--context NAME` to the front, so that they may stand anywhere before a `--`."""
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


def _failed(error: BaseException, *, as_json: bool) -> int:
    """Show what ended the command; returns its exit code."""
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


def _unwritten(error: WriteError, *, as_json: bool) -> int:
    """Say that a result is lost."""
    from ygg.cli.failure import describe, show

    try:
        show(describe(error), as_json=as_json)
        sys.stderr.flush()
    except ReaderGoneError:
        pass  # the exit code says it
    discard()
    return int(Exit.FAILED)
