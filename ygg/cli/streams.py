"""Standard streams that handle closed descriptors, full disks, broken pipes and terminals without Unicode.

Owns the errors of failed writes; `run` converts them to exit codes. Sources: POSIX, "Standard I/O Streams"; the rule of
coreutils that a result which cannot be written is an error.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any, TextIO

PLAIN = "ygg-plain"
"""Name of the codec error handler that replaces characters missing in an encoding with ASCII."""
_PLAIN = str.maketrans(
    {"…": "...", "→": "->", "↑": "^", "↓": "v", "✓": "+", "✗": "x", "·": "-", "•": "*", "–": "-", "—": "-"}
    | {"°": "deg", "Ω": "Ohm", "µ": "u", "μ": "u", "²": "2", "³": "3", "×": "x", "“": '"', "”": '"', "’": "'"}
)


class ReaderGoneError(BaseException):
    """The reader of the output has closed the pipe, as in `ygg … | head`.

    Not an Exception, so that it ends a command like an interrupt and no handler treats it as a failure.
    """


class WriteError(OSError):
    """A result could not be written; `filename` names the stream."""


def open_standard() -> None:
    """Replace the three standard streams. Call once in the `ygg` process, before any output."""
    _fill_closed()
    codecs.register_error(PLAIN, _plain)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process lives
    sys.stdout = _writer(_Raw(1), sys.stdout)
    sys.stderr = _writer(_Remarks(2), sys.stderr, line_buffering=True)


def discard() -> None:
    """Discard buffered output by redirecting both streams to /dev/null."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(null, number)


def _fill_closed() -> None:
    """Reopen closed descriptors in a mode that fails on use, so that no file or socket takes their number."""
    for number, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest free number, which is this one


def _writer(raw: io.FileIO, before: TextIO | None, *, line_buffering: bool = False) -> io.TextIOWrapper:
    encoding = before.encoding if before is not None else "utf-8"
    lines = line_buffering or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors=PLAIN, line_buffering=lines)


class _Raw(io.FileIO):
    """The stream of results: a failed write is an error."""

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
    """The stream of remarks: failed writes are ignored, except a broken pipe."""

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
    if "\ud800" <= char <= "\udfff":  # a lone surrogate, or a non-UTF-8 byte of an argument
        return f"\\u{ord(char):04x}"
    plain = char.translate(_PLAIN)
    try:
        plain.encode(encoding)
    except UnicodeEncodeError:
        return "?"
    return plain
