"""What devices may offer: semantic types allowed and denied, by exact type or by a prefix such as `actuator.*`."""

from __future__ import annotations

from dataclasses import dataclass

from services.domain import ids
from services.domain.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class Policy:
    """Denied beats allowed. An empty policy, named `open`, allows everything."""

    name: str = "open"
    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()

    def refusal(self, semantic_type: str) -> str:
        """Why a type is refused, in at most 63 bytes; empty where it is allowed."""
        denied = next((pattern for pattern in self.deny if _covers(pattern, semantic_type)), None)
        if denied is not None:
            return _cut(f'policy "{self.name}" denies {denied}')
        if any(_covers(pattern, semantic_type) for pattern in self.allow):
            return ""
        return _cut(f'policy "{self.name}" allows {", ".join(self.allow) or "nothing"}')


def parse(document: object) -> Policy:
    """A policy from JSON: {"name": "demo", "allow": ["*"], "deny": ["actuator.siren"]}. Raises InvalidRequestError."""
    if not isinstance(document, dict) or set(document) - {"name", "allow", "deny"}:
        raise InvalidRequestError("a policy is an object with name, allow and deny")
    name = document.get("name", "")
    if not isinstance(name, str):
        raise InvalidRequestError("a policy's name is text")
    allow = _patterns("allow", document.get("allow", ["*"]))
    return Policy(ids.member_id(name), allow, _patterns("deny", document.get("deny", [])))


def _patterns(key: str, found: object) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise InvalidRequestError(
            f"a policy's {key} is a list of types such as actuator.led, or prefixes such as actuator.*"
        )
    for pattern in found:
        if pattern != "*":
            ids.semantic_type(pattern.removesuffix("*") + "x" if pattern.endswith(".*") else pattern)
    return tuple(found)


def _covers(pattern: str, semantic_type: str) -> bool:
    if pattern == "*":
        return True
    return semantic_type.startswith(pattern[:-1]) if pattern.endswith(".*") else semantic_type == pattern


def _cut(text: str, limit: int = 63) -> str:
    return text if len(text.encode()) <= limit else text.encode()[: limit - 1].decode(errors="ignore") + "."
