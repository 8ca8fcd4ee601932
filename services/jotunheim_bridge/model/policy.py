"""Policies: the semantic types that devices may offer, allowed and denied for the devices that match a selector.

Pure. A policy file has one policy, or a list of policies; the first that matches a device's labels applies:

    [{"name": "hall", "selector": "zone=hall", "deny": ["actuator.*"]}, {"name": "others", "allow": ["sensor.*"]}]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.domain import ids
from services.domain.errors import InvalidRequestError
from services.domain.selectors import Selector, parse_selector

_KEYS = {"name", "selector", "allow", "deny"}


@dataclass(frozen=True, slots=True)
class Policy:
    """`deny` overrides `allow`; a pattern is a type, a prefix such as `actuator.*`, or `*`. The default allows all."""

    name: str = "open"
    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()
    selector: Selector = field(default_factory=Selector)

    def refusal(self, semantic_type: str) -> str:
        """Return why a type is refused, in at most 63 bytes, or "" if it is allowed."""
        denied = next((pattern for pattern in self.deny if _covers(pattern, semantic_type)), None)
        if denied is not None:
            return _cut(f'policy "{self.name}" denies {denied}')
        if any(_covers(pattern, semantic_type) for pattern in self.allow):
            return ""
        return _cut(f'policy "{self.name}" allows {", ".join(self.allow) or "nothing"}')


def choose(policies: tuple[Policy, ...], labels: Mapping[str, str]) -> Policy:
    """Return the first policy with a matching selector, or the open policy."""
    return next((policy for policy in policies if policy.selector.matches(labels)), Policy())


def parse(document: object) -> tuple[Policy, ...]:
    """Return the policies of a JSON document. Raises InvalidRequestError or InvalidIdError."""
    return tuple(_policy(item) for item in (document if isinstance(document, list) else [document]))


def _policy(document: object) -> Policy:
    if not isinstance(document, dict) or set(document) - _KEYS:
        raise InvalidRequestError(f"a policy is an object with {', '.join(sorted(_KEYS))}")
    name, selector = document.get("name", ""), document.get("selector", "")
    if not isinstance(name, str) or not isinstance(selector, str):
        raise InvalidRequestError("a policy's name and selector are text")
    allow, deny = document.get("allow", ["*"]), document.get("deny", [])
    return Policy(ids.member_id(name), _patterns("allow", allow), _patterns("deny", deny), parse_selector(selector))


def _patterns(key: str, found: object) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise InvalidRequestError(f"a policy's {key} is a list of types such as actuator.led, or prefixes: actuator.*")
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
