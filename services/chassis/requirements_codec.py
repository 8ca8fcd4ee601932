"""Conversion between the protos and the domain: requirements and their failed clauses."""

from __future__ import annotations

from collections.abc import Iterable

from services.chassis.codec import value_type_from_proto
from services.domain.errors import InvalidIdError, InvalidRequestError, in_field
from services.domain.matcher import FailedClause
from services.domain.requirements import AffordanceKind, Member, Requirement, check, parse_requirement
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.common.v1 import requirement_pb2 as rp

MAX_REQUIREMENTS = 16
"""Maximum requirements of one request."""
_KINDS = {
    rp.AFFORDANCE_KIND_PROPERTY: AffordanceKind.PROPERTY,
    rp.AFFORDANCE_KIND_ACTION: AffordanceKind.ACTION,
    rp.AFFORDANCE_KIND_EVENT: AffordanceKind.EVENT,
}


def requirements(structured: Iterable[rp.Requirement], texts: Iterable[str]) -> tuple[Requirement, ...]:
    """Return both forms together, the structured ones first, at most MAX_REQUIREMENTS.

    Raises InvalidRequestError or InvalidIdError, which names the requirement.
    """
    messages, texts = tuple(structured), tuple(texts)
    count = len(messages) + len(texts)
    if count > MAX_REQUIREMENTS:
        raise InvalidRequestError(
            f"{count} requirements, at most {MAX_REQUIREMENTS} are allowed", field="requirements" if messages else "has"
        )
    found = []
    for position, message in enumerate(messages):
        try:
            found.append(requirement_from_proto(message))
        except (InvalidRequestError, InvalidIdError) as e:
            where = f"requirements[{position}]"
            raise type(e)(f"{where}: {e.message}", hint=e.hint, field=where, requirement=position) from e
    with in_field("has"):
        return (*found, *map(parse_requirement, texts))


def requirement_from_proto(message: rp.Requirement) -> Requirement:
    """Return the checked requirement; raises InvalidRequestError or InvalidIdError."""
    return check(
        Requirement(
            type=message.type,
            min_version=message.minimum_version or 1,
            max_version=message.maximum_version or None,
            id=message.id,
            members=tuple(map(_member, message.affordances)),
        )
    )


def _member(message: rp.AffordanceRequirement) -> Member:
    if message.kind not in _KINDS:
        raise InvalidRequestError("an affordance's kind is missing or unknown to this version")
    has_type = message.type != cp.VALUE_TYPE_UNSPECIFIED
    return Member(
        kind=_KINDS[message.kind],
        name=message.name,
        type=value_type_from_proto(message.type) if has_type else None,
        unit=message.unit,
        minimum=message.covers_minimum if message.HasField("covers_minimum") else None,
        maximum=message.covers_maximum if message.HasField("covers_maximum") else None,
        readable=message.readable,
        writable=message.writable,
        observable=message.observable,
    )


def clause_to_proto(clause: FailedClause) -> rp.FailedClause:
    """Return the message of a failed clause."""
    return rp.FailedClause(
        kind=rp.ClauseKind.Value(f"CLAUSE_KIND_{clause.kind.name}"),
        requirement=clause.requirement,
        capability_id=clause.capability_id,
        member=clause.member,
        message=clause.message,
    )
