"""Differences between two contracts in words: "temp0.value: maximum was 50, is 125".

Owns the lines for people; `contract.compare` lists the changes by capability for programs. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from services.domain.capability import Action, Capability, Event, Parameter, Property, Schema
from services.domain.contract import Contract, LinkTerms

_LINK = {
    "protocol": "",
    "device_rx_frame_bytes": " bytes",
    "device_tx_frame_bytes": " bytes",
    "calls_in_flight": "",
    "heartbeat_ms": " ms",
}
_ACCESS = ("readable", "writable", "observable")


def differences(old: Contract, new: Contract) -> list[str]:
    """Return one line per difference, in the order of the contracts; empty if they are equal."""
    lines = [*_capabilities(old, new), *_refusals(old, new), *_link(old.link, new.link)]
    if old.policy != new.policy:
        lines.append(f"policy {_was(old.policy or 'none', new.policy or 'none')}")
    if not lines and old.document_digest != new.document_digest:
        lines.append("the device's capability document has different bytes with the same meaning")
    return lines


def _capabilities(old: Contract, new: Contract) -> Iterator[str]:
    before, after = {c.id: c for c in old.capabilities}, {c.id: c for c in new.capabilities}
    was_refused = {r.capability_id for r in old.refused}
    for name, found in before.items():
        if name not in after:
            yield f"{name}: removed, was {_type(found)}"
        elif found != after[name]:
            yield from _capability(found, after[name])
    for name, found in after.items():
        if name not in before:
            yield f"{name}: added, {_type(found)}" + (" (it was refused)" if name in was_refused else "")
    yield from _order("the capabilities", tuple(before), tuple(after))


def _capability(old: Capability, new: Capability) -> Iterator[str]:
    if _type(old) != _type(new):
        yield f"{old.id}: type {_was(_type(old), _type(new))}"
    yield from _members(old.id, "property", "the properties", old.properties, new.properties)
    yield from _members(old.id, "action", "the actions", old.actions, new.actions)
    yield from _members(old.id, "event", "the events", old.events, new.events)


_Member = TypeVar("_Member", Property, Action, Event)


def _members(where: str, kind: str, many: str, old: Sequence[_Member], new: Sequence[_Member]) -> Iterator[str]:
    before, after = {m.name: m for m in old}, {m.name: m for m in new}
    for name, found in before.items():
        if name not in after:
            yield f"{where}.{name}: {kind} removed"
        elif found != after[name]:
            yield from _member(f"{where}.{name}", found, after[name])
    yield from (f"{where}.{name}: {kind} added" for name in after if name not in before)
    yield from _order(f"{where}: {many}", tuple(before), tuple(after))


def _member(where: str, old: Property | Action | Event, new: Property | Action | Event) -> Iterator[str]:
    if isinstance(old, Property) and isinstance(new, Property):
        yield from _schema(f"{where}:", old.schema, new.schema)
        for access in _ACCESS:
            if getattr(old, access) != getattr(new, access):
                yield f"{where}: is {'now' if getattr(new, access) else 'no longer'} {access}"
    if isinstance(old, Action) and isinstance(new, Action):
        yield from _parameters(where, "argument", old.arguments, new.arguments)
        yield from _parameters(where, "result", old.results, new.results)
        if old.streamed != new.streamed:
            yield f"{where}: answers {'now more than once' if new.streamed else 'only once now'}"
    if isinstance(old, Event) and isinstance(new, Event):
        yield from _parameters(where, "field", old.fields, new.fields)


def _parameters(where: str, kind: str, old: Sequence[Parameter], new: Sequence[Parameter]) -> Iterator[str]:
    before, after = {p.name: p for p in old}, {p.name: p for p in new}
    for name, found in before.items():
        if name not in after:
            yield f"{where}: {kind} {name} removed"
            continue
        yield from _schema(f"{where}: {kind} {name}:", found.schema, after[name].schema)
        if found.optional != after[name].optional:
            yield f"{where}: {kind} {name} is {'optional' if after[name].optional else 'required'} now"
    yield from (f"{where}: {kind} {name} added" for name in after if name not in before)
    yield from _order(f"{where}: the {kind}s", tuple(before), tuple(after))


def _schema(where: str, old: Schema, new: Schema) -> Iterator[str]:
    pairs = (
        ("type", old.type.value, new.type.value),
        ("unit", old.unit or "none", new.unit or "none"),
        ("minimum", _bound(old.minimum), _bound(new.minimum)),
        ("maximum", _bound(old.maximum), _bound(new.maximum)),
        ("longest", f"{old.max_length} bytes", f"{new.max_length} bytes"),
    )
    yield from (f"{where} {what} {_was(before, after)}" for what, before, after in pairs if before != after)


def _refusals(old: Contract, new: Contract) -> Iterator[str]:
    before, after = {r.capability_id: r for r in old.refused}, {r.capability_id: r for r in new.refused}
    for name, refusal in after.items():
        if name not in before:
            yield f"{name}: refused now ({refusal.type}@{refusal.version}): {refusal.message}"
        elif before[name] != refusal:
            yield f"{name}: refused for another reason: {refusal.message}"
    agreed = {c.id for c in new.capabilities}
    yield from (
        f"{name}: no longer offered, was refused" for name in before if name not in after and name not in agreed
    )


def _link(old: LinkTerms, new: LinkTerms) -> Iterator[str]:
    for name, unit in _LINK.items():
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield f"link: {name} {_was(f'{before}{unit}', f'{after}{unit}')}"


def _order(what: str, old: Iterable[str], new: Iterable[str]) -> Iterator[str]:
    """Members are addressed by index, so another order is another contract."""
    before, after = list(old), list(new)
    if [name for name in before if name in after] != [name for name in after if name in before]:
        yield f"{what} are in another order"


def _was(old: str, new: str) -> str:
    return f"was {old}, is {new}"


def _type(capability: Capability) -> str:
    return f"{capability.type}@{capability.version}"


def _bound(bound: float | None) -> str:
    if bound is None:
        return "none"
    return str(int(bound)) if float(bound).is_integer() and abs(bound) <= 2**53 else repr(bound)
