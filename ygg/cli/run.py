"""The entry point: global options wherever they stand, and the one place where errors become text and exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

import typer

from ygg.cli.failure import describe, show
from ygg.exits import Exit

_VALUED = "--context"
_FLAG = "--json"


def main() -> None:
    """Run `ygg` with the arguments of this process and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run `ygg`; returns the exit code."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C core would write handshake errors beside ours
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # its fork handlers can crash a child that `up` starts
    from ygg.cli.root import command

    words = hoist(arguments)
    try:
        result = command()(words, standalone_mode=False, prog_name="ygg")
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return int(Exit.INTERRUPTED)
    except typer.Exit as e:
        return int(e.exit_code)
    except BrokenPipeError:
        return _quiet_pipe()
    except Exception as e:
        failure = describe(e)
        if failure is None:
            raise
        show(failure, as_json=_FLAG in words)
        return int(failure.code)
    return int(result) if isinstance(result, int) else int(Exit.OK)


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


def _quiet_pipe() -> int:
    """`ygg … | head`: the reader has gone, which is no fault."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(Exit.OK)
