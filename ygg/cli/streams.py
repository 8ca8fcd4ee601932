"""The standard streams, whatever the shell gave: closed ones, full disks, readers that left, terminals without Unicode.

Owns what a failed write means; `run` turns it into an exit code. Source: POSIX, "Standard I/O Streams"; coreutils' rule
that a result which could not be written is an error.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any, TextIO

PLAIN = "ygg-plain"
"""Name of the error handler that writes what an encoding lacks in characters that it has."""
_PLAIN = str.maketrans(
    {"…": "...", "→": "->", "↑": "^", "↓": "v", "✓": "+", "✗": "x", "·": "-", "•": "*", "–": "-", "—": "-"}
    | {"°": "deg", "Ω": "Ohm", "µ": "u", "μ": "u", "²": "2", "³": "3", "×": "x", "“": '"', "”": '"', "’": "'"}
)


class ReaderGoneError(BaseException):
    """Whoever read the output has left, as in `ygg … | head`.

    No Exception, so that it ends a command as an interrupt does: everything is closed, and nobody takes it for a fault.
    """


class WriteError(OSError):
    """A result could not be written; `filename` names the stream."""


def open_standard() -> None:
    """Make the three standard streams usable: for the process that is `ygg`, before anything is written."""
    _fill_closed()
    codecs.register_error(PLAIN, _plain)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process lives
    sys.stdout = _writer(_Raw(1), sys.stdout)
    sys.stderr = _writer(_Remarks(2), sys.stderr, line_buffering=True)


def discard() -> None:
    """Let what is still buffered go nowhere: nobody can take it."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(null, number)


def _fill_closed() -> None:
    """Open what the shell closed, in the mode that fails when used: else a file or a socket would get its number."""
    for number, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest free number, which is this one


def _writer(raw: io.FileIO, before: TextIO | None, *, line_buffering: bool = False) -> io.TextIOWrapper:
    encoding = before.encoding if before is not None else "utf-8"
    lines = line_buffering or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors=PLAIN, line_buffering=lines)


class _Raw(io.FileIO):
    """A stream of results: one that cannot be written is an error of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise ReaderGoneError from None
        except OSError as e:
            raise WriteError(e.errno, e.strerror, "standard output") from None


class _Remarks(_Raw):
    """A stream of remarks: one that nobody can read is no reason to fail."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except WriteError:
            return len(data)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    encoding = error.encoding
    shown = "".join(_shown(c, encoding) for c in error.object[error.start : error.end])
    return shown, error.end


def _shown(char: str, encoding: str) -> str:
    if "\ud800" <= char <= "\udfff":  # half of a pair, or a byte of an argument that is not UTF-8
        return f"\\u{ord(char):04x}"
    plain = char.translate(_PLAIN)
    try:
        plain.encode(encoding)
    except UnicodeEncodeError:
        return "?"
    return plain
