"""Matches requirements against the capabilities of a contract, and explains what is missing.

The one matcher of registry, loki and ota. Pure. If no capability meets a requirement, the closest one is explained: the
same type first, then the same id, then a matching version, then the fewest failing members.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.domain import ids
from services.domain.capability import Action, Capability, Event, Property, ValueType
from services.domain.contract import Refusal
from services.domain.requirements import AffordanceKind, Member, Requirement


class ClauseKind(enum.Enum):
    """The kind of clause that fails."""

    TYPE = "type"
    VERSION = "version"
    ID = "id"
    MEMBER = "member"
    VALUE_TYPE = "value_type"
    UNIT = "unit"
    RANGE = "range"
    ACCESS = "access"
    REFUSED = "refused"
    NO_CONTRACT = "no_contract"
    LABEL = "label"
    PRESENCE = "presence"
    NO_DEVICE = "no_device"


@dataclass(frozen=True, slots=True)
class FailedClause:
    """A failed clause; `requirement` is its position in the request, -1 if it concerns none."""

    kind: ClauseKind
    message: str
    capability_id: str = ""
    member: str = ""
    requirement: int = -1


@dataclass(frozen=True, slots=True)
class Match:
    """The id of the capability that meets the requirement, or the failed clauses; exactly one of them is not empty."""

    capability_id: str = ""
    failed: tuple[FailedClause, ...] = ()


def match(
    requirement: Requirement, capabilities: Sequence[Capability], refused: Sequence[Refusal] = (), *, position: int = 0
) -> Match:
    """Return the first capability that meets the requirement, or the failed clauses; `position` is its index in the
    request.
    """
    nearest: tuple[FailedClause, ...] = ()
    least: tuple[int, int, int] | None = None
    for capability in capabilities:
        if capability.type != requirement.type:
            continue
        failed = tuple(_failures(requirement, capability, position))
        if not failed:
            return Match(capability.id)
        kinds = [clause.kind for clause in failed]
        distance = (ClauseKind.ID in kinds, ClauseKind.VERSION in kinds, len(failed))
        if least is None or distance < least:
            nearest, least = failed, distance
    if least is None or least[0]:  # no capability of that type or id
        nearest = _refusal(requirement, refused, position) or nearest
    return Match(failed=nearest or (_no_type(requirement, capabilities, position),))


def match_all(
    requirements: Sequence[Requirement], capabilities: Sequence[Capability], refused: Sequence[Refusal] = ()
) -> tuple[Match, ...]:
    """Return one match per requirement, in order; one capability may meet several requirements."""
    return tuple(match(requirement, capabilities, refused, position=n) for n, requirement in enumerate(requirements))


def _refusal(requirement: Requirement, refused: Sequence[Refusal], position: int) -> tuple[FailedClause, ...]:
    for refusal in refused:
        if refusal.type == requirement.type and requirement.id in ("", refusal.capability_id):
            message = f"{refusal.capability_id} ({refusal.type}@{refusal.version}) was refused: {refusal.message}"
            return (FailedClause(ClauseKind.REFUSED, message, refusal.capability_id, requirement=position),)
    return ()


def _no_type(requirement: Requirement, capabilities: Sequence[Capability], position: int) -> FailedClause:
    named = next((c for c in capabilities if requirement.id and c.id == requirement.id), None)
    if named is not None:
        message = f"{named.id} is {named.type}@{named.version}, {requirement.type} is required"
        return FailedClause(ClauseKind.TYPE, message, named.id, requirement=position)
    have = ", ".join(f"{c.id} ({c.type}@{c.version})" for c in capabilities) or "nothing"
    return FailedClause(ClauseKind.TYPE, f"no {requirement.type}; there is {have}", requirement=position)


def _failures(requirement: Requirement, capability: Capability, position: int) -> Iterator[FailedClause]:
    def failed(kind: ClauseKind, message: str, member: str = "") -> FailedClause:
        where = f"{capability.id}.{member}" if member else capability.id
        return FailedClause(kind, f"{where}{message}", capability.id, member, position)

    if requirement.id not in ("", capability.id):
        yield failed(ClauseKind.ID, f": the id is required to be {requirement.id}")
    low, high = requirement.min_version, requirement.max_version
    if capability.version < low or (high is not None and capability.version > high):
        required = f"{low} or later" if high is None else f"{low}" if low == high else f"{low} to {high}"
        yield failed(
            ClauseKind.VERSION, f": {capability.type} has version {capability.version}, {required} is required"
        )
    for member in requirement.members:
        for kind, message in _member_failures(member, capability):
            yield failed(kind, message, member.name)


def _member_failures(member: Member, capability: Capability) -> Iterator[tuple[ClauseKind, str]]:
    if member.kind is not AffordanceKind.PROPERTY:
        members = capability.actions if member.kind is AffordanceKind.ACTION else capability.events
        if all(one.name != member.name for one in members):
            yield ClauseKind.MEMBER, _missing(member, capability)
        return
    found = next((prop for prop in capability.properties if prop.name == member.name), None)
    if found is None:
        yield ClauseKind.MEMBER, _missing(member, capability)
        return
    yield from _property_failures(member, found)


def _missing(member: Member, capability: Capability) -> str:
    kinds: dict[AffordanceKind, Sequence[Property | Action | Event]] = {
        AffordanceKind.PROPERTY: capability.properties,
        AffordanceKind.ACTION: capability.actions,
        AffordanceKind.EVENT: capability.events,
    }
    for kind, members in kinds.items():
        if any(one.name == member.name for one in members):
            return f" is {_a(kind)}, {_a(member.kind)} is required"
    have = ", ".join(one.name for one in kinds[member.kind]) or "none"
    plural = "properties" if member.kind is AffordanceKind.PROPERTY else f"{member.kind.value}s"
    return f": {member.kind.value} does not exist; the {plural} are {have}"


def _property_failures(member: Member, found: Property) -> Iterator[tuple[ClauseKind, str]]:
    schema = found.schema
    fits = member.type in (None, schema.type) or (member.type is ValueType.DOUBLE and schema.type is ValueType.INT)
    if not fits and member.type is not None:
        yield ClauseKind.VALUE_TYPE, f": type is {schema.type.value}, {member.type.value} is required"
    if member.unit and member.unit != schema.unit:
        yield ClauseKind.UNIT, f": unit is {ids.printable(schema.unit) or 'none'}, {member.unit} is required"
    if not _covers(member, found):
        have = f"range is {_range(schema.minimum, schema.maximum)} {ids.printable(schema.unit)}".rstrip()
        have = have if _numeric(found) else f"{_a(schema.type)} has no range"
        yield ClauseKind.RANGE, f": {have}, {_range(member.minimum, member.maximum)} is required"
    missing = [
        what
        for required, present, what in (
            (member.readable, found.readable, "read"),
            (member.writable, found.writable, "written"),
            (member.observable, found.observable, "observed"),
        )
        if required and not present
    ]
    if missing:
        yield ClauseKind.ACCESS, f" cannot be {' or '.join(missing)}"


def _covers(member: Member, found: Property) -> bool:
    if member.minimum is None and member.maximum is None:
        return True
    low, high = found.schema.minimum, found.schema.maximum
    return (
        _numeric(found)
        and (member.minimum is None or low is None or low <= member.minimum)
        and (member.maximum is None or high is None or high >= member.maximum)
    )


def _numeric(found: Property) -> bool:
    return found.schema.type in (ValueType.INT, ValueType.DOUBLE)


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"from {low:g}" if low is not None else f"up to {high:g}" if high is not None else "unbounded"
    return f"{low:g} to {high:g}"


def _a(what: AffordanceKind | ValueType) -> str:
    return f"{'an' if what.value[0] in 'aeiou' else 'a'} {what.value}"
