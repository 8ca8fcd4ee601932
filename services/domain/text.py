"""Text of files, read the same way everywhere: byte order marks, CRLF and other encodings. Pure.

The result is the text that an editor shows: without the mark, and with LF as line ending.
"""

from __future__ import annotations

from services.domain.errors import InvalidRequestError, Reason

_BOM = "\ufeff"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class TextError(InvalidRequestError, reason=Reason.NOT_TEXT):
    """The bytes are not UTF-8 text."""


def decode(data: bytes, what: object) -> str:
    """Return the text of a file; `what` names it in errors. Raises TextError."""
    if data.startswith(_UTF_16):
        raise TextError(f"{what} is UTF-16 text", hint="Save it as UTF-8.")
    try:
        return normalized(data.decode())
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise TextError(f"{what} is not UTF-8 text (line {line}, byte {e.start})", hint="Save it as UTF-8.") from e


def normalized(text: str) -> str:
    """Return the text without a leading byte order mark, and with LF for CRLF and CR. Idempotent."""
    return text.removeprefix(_BOM).replace("\r\n", "\n").replace("\r", "\n")
