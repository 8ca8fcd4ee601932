"""Text as files have it: a byte order mark, CRLF, or another encoding. One place reads all of them alike. Pure.

What comes out is what a person sees in an editor: without the mark, with LF at the end of lines.
"""

from __future__ import annotations

from services.domain.errors import InvalidRequestError

_BOM = "\ufeff"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class TextError(InvalidRequestError):
    """Bytes that are no UTF-8 text."""

    reason = "NOT_TEXT"


def decode(data: bytes, what: object) -> str:
    """The text of a file; `what` names it in errors. Raises TextError."""
    if data.startswith(_UTF_16):
        raise TextError(f"{what} is UTF-16 text", hint="Save it as UTF-8.")
    try:
        return normalized(data.decode())
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise TextError(f"{what} is not UTF-8 text (line {line}, byte {e.start})", hint="Save it as UTF-8.") from e


def normalized(text: str) -> str:
    """Without a byte order mark at its beginning, and with LF for CRLF and CR. Idempotent."""
    return text.removeprefix(_BOM).replace("\r\n", "\n").replace("\r", "\n")
