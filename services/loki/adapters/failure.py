"""Errors from a worker's report of a failed script. Texts from a worker are bounded here."""

from __future__ import annotations

from typing import Any

from services.domain.errors import Code
from services.domain.ids import printable
from services.loki.errors import ScriptError

MAX_MESSAGE_CHARS = 600
MAX_TRACEBACK_CHARS = 1200
MAX_LINE = 10_000_000
_OWN = {
    "SYNTAX": "",
    "SCRIPT_ERROR": "",
    "MEMORY": "the script needs more memory than its limit",
    "OUTPUT": "the script returned or passed on more than 4 MiB at once",
}


def script_error(content: Any) -> ScriptError:
    """Return the error of a FAIL frame."""
    if not isinstance(content, dict):
        content = {}
    reason = printable(str(content.get("reason", "")), 64)
    message = _OWN.get(reason) or _cut(content.get("message", ""), MAX_MESSAGE_CHARS)
    line = content.get("line", 0)
    return ScriptError(
        reason if reason in _OWN or _code(content) else "CRASH",
        message,
        line=line if isinstance(line, int) and 0 <= line <= MAX_LINE else 0,
        traceback=_cut(content.get("traceback", ""), MAX_TRACEBACK_CHARS),
        code=None if reason in _OWN else _code(content),
        hint=_cut(content.get("hint", ""), MAX_MESSAGE_CHARS),
    )


def _code(content: dict[str, Any]) -> Code | None:
    name = content.get("status")
    return Code[name] if isinstance(name, str) and name in Code.__members__ else None


def _cut(text: object, limit: int) -> str:
    whole = str(text)
    return whole if len(whole) <= limit else whole[: limit - 1] + "…"
