"""Requirements such as `sensor.temperature@1+`, label selectors such as `zone=hall`, and who meets them.

Pure, so that the registry, loki and ota give the same answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from services.domain import ids
from services.domain.errors import InvalidIdError, InvalidRequestError

_REQUIREMENT = re.compile(r"(?P<type>[^@\s]+)(@(?P<version>[1-9][0-9]{0,8})(?P<later>\+)?)?\Z")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A semantic type and the least and the greatest version; `max_version` None means any later one."""

    type: str
    min_version: int = 1
    max_version: int | None = None

    def met_by(self, semantic_type: str, version: int) -> bool:
        """Whether a capability of that type and version meets it."""
        if semantic_type != self.type or version < self.min_version:
            return False
        return self.max_version is None or version <= self.max_version


def parse_requirement(text: str) -> Requirement:
    """`type`, `type@N` (exactly N) or `type@N+` (N or later); raises InvalidRequestError or InvalidIdError."""
    match = _REQUIREMENT.match(text)
    if not match:
        raise InvalidRequestError(
            f"{ids.printable(text)!r} is not a requirement",
            hint="Write sensor.temperature, sensor.temperature@2 or sensor.temperature@2+.",
        )
    semantic_type = ids.semantic_type(match["type"])
    if match["version"] is None:
        return Requirement(semantic_type)
    version = int(match["version"])
    return Requirement(semantic_type, version, None if match["later"] else version)


@dataclass(frozen=True, slots=True)
class Selector:
    """Labels that all must be there; value None means that the key alone is wanted."""

    terms: tuple[tuple[str, str | None], ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels have all that is wanted."""
        return all(key in labels and value in (None, labels[key]) for key, value in self.terms)


def parse_selector(text: str) -> Selector:
    """`key=value` and `key`, joined by commas; raises InvalidRequestError with the position of the fault."""
    terms: list[tuple[str, str | None]] = []
    position = 0
    for part in text.split(",") if text.strip() else []:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        try:
            ids.labels({key: value})
        except InvalidIdError as e:
            raise InvalidRequestError(
                f"selector, at position {position}: {e.message}",
                hint=e.hint or "Write zone=hall,floor=2.",
                position=position,
            ) from e
        terms.append((key, value if equals else None))
        position += len(part) + 1
    return Selector(tuple(terms))
