"""Requirements on a device's capabilities, structured and as text; `matcher` evaluates them.

The text form:

    requirement = [ id "=" ] type [ "@" version ] [ "{" member *( "," member ) "}" ]
    version     = V          exactly V
                | V "+"      V or later
                | V ".." W   V to W
    member      = name "()"  an action
                | name "!"   an event
                | name [ ":" ( value-type [ unit ] | unit ) ] [ range ] [ access ]      a property
    range       = low ".." high | low ".." | ".." high      must be within the property's range
    access      = one to three of r (readable), w (writable), o (observable)

The parts of a property are separated by spaces: `led0=actuator.led@1+{blink(), on:bool rw, brightness:% 0..100}`,
`sensor.temperature@2..3{value:double Cel -10..40 ro, overheated!}`. `value-type` is bool, int, double, string or bytes
(double is also met by int); a unit is UCUM, without space, comma and braces. Omitted parts are not required. Pure.
"""

from __future__ import annotations

import contextlib
import enum
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from services.domain import ids, ucum
from services.domain.capability import ValueType
from services.domain.errors import InvalidIdError, InvalidRequestError

MAX_TEXT = 2048
"""Length of the text form, in characters."""
MAX_MEMBERS = 16
MAX_VERSION = 2**32 - 1
_HINT = "Examples: sensor.temperature, sensor.temperature@2+, actuator.led@1..3{blink(), brightness:% 0..100 rw}."
_HEAD = re.compile(r"(?:(?P<id>[^@\s={}]*)=)?(?P<type>[^@\s={}]*)(?:@(?P<version>[^\s{}]*))?")
_VERSION = re.compile(r"(?P<low>[1-9][0-9]{0,8})(?:(?P<later>\+)|\.\.(?P<high>[1-9][0-9]{0,8}))?\Z", re.ASCII)
_NUMBER = r"-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_RANGE = re.compile(rf"(?P<low>{_NUMBER})?\.\.(?P<high>{_NUMBER})?\Z", re.ASCII)
_ACCESS = re.compile(r"(?!.*(.).*\1)[rwo]{1,3}\Z")


class AffordanceKind(enum.Enum):
    """The kind of a member."""

    PROPERTY = "property"
    ACTION = "action"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Member:
    """A member that the capability must have; all but kind and name are for properties only.

    The property's own range must include `minimum` and `maximum`.
    """

    kind: AffordanceKind
    name: str
    type: ValueType | None = None
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    readable: bool = False
    writable: bool = False
    observable: bool = False

    def __str__(self) -> str:
        """Return the text form."""
        if self.kind is not AffordanceKind.PROPERTY:
            return self.name + ("()" if self.kind is AffordanceKind.ACTION else "!")
        value = " ".join(filter(None, [self.type.value if self.type else "", self.unit]))
        parts = [f"{self.name}:{value}" if value else self.name]
        if self.minimum is not None or self.maximum is not None:
            parts.append(f"{_number(self.minimum)}..{_number(self.maximum)}")
        access = "r" * self.readable + "w" * self.writable + "o" * self.observable
        return " ".join([*parts, access] if access else parts)


@dataclass(frozen=True, slots=True)
class Requirement:
    """A semantic type, the minimum and maximum version (None: any later one), an id (empty: any), and members."""

    type: str
    min_version: int = 1
    max_version: int | None = None
    id: str = ""
    members: tuple[Member, ...] = ()

    def __str__(self) -> str:
        """Return the text form."""
        text = (f"{self.id}=" if self.id else "") + self.type + self.versions()
        return text + ("{" + ", ".join(map(str, self.members)) + "}" if self.members else "")

    def versions(self) -> str:
        """Return the part after the type; "" if any version is accepted."""
        if self.max_version is None:
            return f"@{self.min_version}+" if self.min_version > 1 else ""
        return f"@{self.min_version}" + ("" if self.max_version == self.min_version else f"..{self.max_version}")


def check(requirement: Requirement) -> Requirement:
    """Return the requirement if every part is valid; raises InvalidRequestError or InvalidIdError."""
    ids.semantic_type(requirement.type)
    if requirement.id:
        ids.member_id(requirement.id)
    low, high = requirement.min_version, requirement.max_version
    if not 1 <= low <= (MAX_VERSION if high is None else high) <= MAX_VERSION:
        raise InvalidRequestError(f"{requirement.type}: the version range {low} to {high} is invalid")
    if len(requirement.members) > MAX_MEMBERS:
        raise InvalidRequestError(f"{requirement.type}: {len(requirement.members)} members, at most {MAX_MEMBERS}")
    for member in requirement.members:
        _check_member(member)
    return requirement


def _check_member(member: Member) -> None:
    ids.member_id(member.name)
    if member.kind is not AffordanceKind.PROPERTY and member != Member(member.kind, member.name):
        raise InvalidRequestError(f"{member.name}: only a property has type, unit, range and access")
    if member.unit and not ucum.is_unit(member.unit):
        unit = ids.printable(member.unit, 20)
        raise InvalidRequestError(
            f"{member.name}: {unit!r} is not a UCUM unit, so no device has it", hint="Examples: Cel, %, ms, m/s2."
        )
    bounds = [bound for bound in (member.minimum, member.maximum) if bound is not None]
    if any(not math.isfinite(bound) for bound in bounds) or bounds != sorted(bounds):
        raise InvalidRequestError(
            f"{member.name}: the range {_number(member.minimum)}..{_number(member.maximum)} is invalid"
        )
    if bounds and member.type not in (None, ValueType.INT, ValueType.DOUBLE):
        raise InvalidRequestError(f"{member.name}: only int and double have a range")


def parse_requirement(text: str) -> Requirement:
    """Return the requirement; raises InvalidRequestError or InvalidIdError with the position, in characters from 0."""
    if len(text) > MAX_TEXT:
        raise _fault(MAX_TEXT, f"it is {len(text)} characters long, at most {MAX_TEXT} are allowed")
    head = next(_HEAD.finditer(text))  # also matches the empty text
    low, high = _versions(head)
    with _at(head.start("type")):
        ids.semantic_type(head["type"])
    if head["id"] is not None:
        with _at(0):
            ids.member_id(head["id"])
    members = _members(text, head.end()) if head.end() < len(text) else ()
    return Requirement(head["type"], low, high, head["id"] or "", members)


def _versions(head: re.Match[str]) -> tuple[int, int | None]:
    if head["version"] is None:
        return 1, None
    found = _VERSION.match(head["version"])
    if not found:
        raise _fault(head.start("version"), f"{ids.printable(head['version'])!r} is not a version")
    low = int(found["low"])
    high = int(found["high"]) if found["high"] else None if found["later"] else low
    if high is not None and high < low:
        raise _fault(head.start("version"), f"the version range {low} to {high} is invalid")
    return low, high


def _members(text: str, start: int) -> tuple[Member, ...]:
    if text[start] != "{":
        raise _fault(start, f"expected {{ or the end, not {ids.printable(text[start:])!r}")
    end = text.find("}", start)
    if end < 0:
        raise _fault(len(text), "} is missing")
    if end + 1 < len(text):
        raise _fault(end + 1, f"expected the end, not {ids.printable(text[end + 1 :])!r}")
    found, at = list[Member](), start + 1
    for part in text[start + 1 : end].split(","):
        at_part = at + len(part) - len(part.lstrip())
        if len(found) == MAX_MEMBERS:
            raise _fault(at_part, f"more than {MAX_MEMBERS} members")
        found.append(_member(part.strip(), at_part))
        at += len(part) + 1
    return tuple(found)


def _member(text: str, at: int) -> Member:
    with _at(at):
        if text.endswith("()"):
            return Member(AffordanceKind.ACTION, ids.member_id(text[:-2].rstrip()))
        if text.endswith("!"):
            return Member(AffordanceKind.EVENT, ids.member_id(text[:-1].rstrip()))
    name = re.split(r"[\s:]", text, maxsplit=1)[0]
    with _at(at):
        ids.member_id(name)
    words = [(found[0], at + found.start()) for found in re.finditer(r"[^\s:{]+", text) if found.start() >= len(name)]
    colon = text[len(name) :].lstrip().startswith(":")
    if text.count(":") > colon or "{" in text or (colon and not words):
        raise _fault(at + len(name), f"{ids.printable(text)!r} is not a property")
    return _property(name, words, colon, at)


def _property(name: str, words: list[tuple[str, int]], colon: bool, at: int) -> Member:
    parts: dict[str, object] = {}
    types = {kind.value: kind for kind in ValueType}
    if colon and words and words[0][0] in types:
        parts["type"] = types[words.pop(0)[0]]
    if colon and words and not _RANGE.match(words[0][0]) and not _ACCESS.match(words[0][0]):
        parts["unit"] = words.pop(0)[0]
    if words and (found := _RANGE.match(words[0][0])) and (found["low"] or found["high"]):
        words.pop(0)
        parts["minimum"] = float(found["low"]) if found["low"] else None
        parts["maximum"] = float(found["high"]) if found["high"] else None
    if words and _ACCESS.match(words[0][0]):
        letters = words.pop(0)[0]
        parts |= {"readable": "r" in letters, "writable": "w" in letters, "observable": "o" in letters}
    if words:
        raise _fault(words[0][1], f"{ids.printable(words[0][0])!r} is not valid here in a property")
    member = Member(AffordanceKind.PROPERTY, name, **parts)  # type: ignore[arg-type]
    with _at(at):
        _check_member(member)
    return member


@contextlib.contextmanager
def _at(position: int) -> Iterator[None]:
    """Add the position to errors raised inside."""
    try:
        yield
    except (InvalidIdError, InvalidRequestError) as e:
        message = f"requirement, at position {position}: {e.message}"
        raise type(e)(message, hint=e.hint or _HINT, position=position) from e


def _fault(position: int, message: str) -> InvalidRequestError:
    return InvalidRequestError(f"requirement, at position {position}: {message}", hint=_HINT, position=position)


def _number(value: float | None) -> str:
    """Return the shortest text of a number; "" for None."""
    if value is None:
        return ""
    return str(int(value)) if abs(value) < 1e15 and value == int(value) else repr(value)
