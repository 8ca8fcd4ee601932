"""The grammars of ids, names and labels.

The grammar of members is valid as NATS token, Lua name, Scheme symbol and proto name; device ids are also valid as DNS
labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from services.domain.errors import InvalidIdError, in_field

MAX_LABELS = 32
"""Labels of a device."""
_DEVICE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_MEMBER = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_CALL = re.compile(r"[A-Za-z0-9_-]{1,36}\Z")
_TYPE = re.compile(r"[a-z][a-z0-9_]{0,31}(\.[a-z][a-z0-9_]{0,31})+\Z")
_LABEL_KEY = re.compile(r"[a-z]([a-z0-9_./-]{0,61}[a-z0-9])?\Z")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9_.-]{0,63}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


def _check(pattern: re.Pattern[str], value: str, what: str, grammar: str, field: str = "") -> str:
    if not pattern.match(value):
        raise InvalidIdError(
            f"{printable(value)!r} is not a {what}",
            hint=f"A {what} is {grammar}.",
            field=field,
            value=printable(value),
        )
    return value


def device_id(value: str, field: str = "device_id") -> str:
    """Return `value` if it is a device id; raises InvalidIdError, which names the request's `field`."""
    return _check(_DEVICE, value, "device id", "1 to 63 of a-z, 0-9 and -, and does not begin with -", field)


def group_name(value: str, field: str = "group") -> str:
    """Return `value` if it is the name of a group; raises InvalidIdError, which names the request's `field`."""
    return _check(_DEVICE, value, "group name", "1 to 63 of a-z, 0-9 and -, and does not begin with -", field)


def member_id(value: str, what: str = "name") -> str:
    """Return `value` if it is an id of a capability, member, program or script; raises InvalidIdError.

    `what` is the kind of id in the message.
    """
    return _check(_MEMBER, value, what, "1 to 32 of a-z, 0-9 and _, and begins with a letter")


def call_id(value: str) -> str:
    """Return `value` if it is a call id; raises InvalidIdError."""
    return _check(_CALL, value, "call id", "1 to 36 of A-Z, a-z, 0-9, _ and -", "call_id")


def semantic_type(value: str) -> str:
    """Return `value` if it is a semantic type such as `actuator.led`; raises InvalidIdError."""
    if len(value) > 63:
        raise InvalidIdError("a semantic type is at most 63 bytes", value=printable(value))
    return _check(_TYPE, value, "semantic type", "two or more names joined by dots, such as actuator.led")


def digest(value: str, field: str = "") -> str:
    """Return `value` if it is a SHA-256 in lower-case hex; raises InvalidIdError, which names the request's `field`."""
    return _check(_DIGEST, value, "SHA-256 digest", "64 lower-case hex digits", field)


def labels(value: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of `value` if it has only valid labels, at most MAX_LABELS; raises InvalidIdError."""
    if len(value) > MAX_LABELS:
        raise InvalidIdError(f"{len(value)} labels; a device has at most {MAX_LABELS}", field="labels")
    with in_field("labels"):
        for key, text in value.items():
            label_key(key)
            label_value(text)
    return dict(value)


def label_key(value: str) -> str:
    """Return `value` if it is the key of a label; raises InvalidIdError."""
    return _check(_LABEL_KEY, value, "label key", "1 to 63 of a-z, 0-9, _ . / and -, and begins with a letter")


def label_value(value: str) -> str:
    """Return `value` if it is the value of a label; raises InvalidIdError."""
    return _check(_LABEL_VALUE, value, "label value", "at most 63 of A-Z, a-z, 0-9, _ . and -")


def printable(text: str, limit: int = 64) -> str:
    """Return untrusted text made safe to log and show: `?` for unprintable characters, at most `limit` characters."""
    safe = "".join(c if c.isprintable() else "?" for c in text[: limit + 1])
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"
