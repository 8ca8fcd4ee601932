"""Parse JSON strictly, with bounded nesting. Pure.

Python's parser accepts NaN, lone surrogates and integers of any size, and raises RecursionError on deeply nested text
(RFC 8259, sections 6, 8.2 and 9).
"""

from __future__ import annotations

import json

from services.domain.errors import InvalidRequestError
from services.domain.values import MAX_DEPTH, Value, check
from ygg.exits import UsageError
from ygg.output import safe


def parse(text: str, what: str) -> object:
    """Return the parsed JSON. Raises UsageError; `what` names the text in errors, such as `line 3`."""
    try:
        data = json.loads(text, parse_constant=_refuse)
        json.dumps(data, ensure_ascii=False).encode()
    except RecursionError:
        raise UsageError(f"{what}: JSON is nested too deeply", hint=f"The maximum depth is {MAX_DEPTH}.") from None
    except UnicodeEncodeError:
        raise UsageError(f"{what} is not valid JSON: lone surrogate") from None
    except ValueError as e:
        raise UsageError(f"{what} is not valid JSON: {safe(e)}") from None
    return data


def to_value(data: object) -> Value:
    """Return parsed JSON as a value of the mesh. Raises UsageError if it is too deep or a number out of range."""
    try:
        return check(data)  # type: ignore[arg-type]
    except InvalidRequestError as e:
        raise UsageError(e.message) from e


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not a JSON number")
