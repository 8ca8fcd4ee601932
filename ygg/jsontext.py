"""JSON that a person or a file gives: read with the faults that JSON readers let through refused. Pure.

Python's reader accepts NaN, lone surrogates and whole numbers of any size, and ends in RecursionError where text is
nested deep (RFC 8259, sections 6, 8.2 and 9).
"""

from __future__ import annotations

import json

from services.domain.errors import InvalidRequestError
from services.domain.values import MAX_DEPTH, Value, check
from ygg.exits import UsageError
from ygg.output import safe


def parse(text: str, what: str) -> object:
    """What JSON holds. Raises UsageError; `what` names the text, such as `line 3`."""
    try:
        data = json.loads(text, parse_constant=_refuse)
        json.dumps(data, ensure_ascii=False).encode()
    except RecursionError:
        raise UsageError(
            f"{what} is JSON nested too deep", hint=f"A value is nested at most {MAX_DEPTH} deep."
        ) from None
    except UnicodeEncodeError:
        raise UsageError(f"{what} is not valid JSON: half of a surrogate pair is no text") from None
    except ValueError as e:
        raise UsageError(f"{what} is not valid JSON: {safe(e)}") from None
    return data


def to_value(data: object) -> Value:
    """Parsed JSON as a value of the mesh. Raises UsageError where it is too deep or a number too large."""
    try:
        return check(data)  # type: ignore[arg-type]
    except InvalidRequestError as e:
        raise UsageError(e.message) from e


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no number of JSON")
