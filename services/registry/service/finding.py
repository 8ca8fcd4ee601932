"""Queries for devices by capabilities and labels, and explanations of mismatches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from services.chassis import buckets
from services.domain import ids, matcher
from services.domain.access import ACTIVE
from services.domain.matcher import ClauseKind, FailedClause
from services.domain.selectors import Operator, Selector, Term
from services.registry.errors import GroupNotFoundError, IndexBehindError
from services.registry.ports import DeviceMessage, Facts, GroupStore, Index, Query


@dataclass(frozen=True, slots=True)
class ScopedQuery:
    """A query limited to the members of a group, if set, and to an index of at least a revision."""

    query: Query
    group: str = ""
    at_least_revision: int = 0


@dataclass(frozen=True, slots=True)
class Explanation:
    """Explanation of a match or mismatch: the failed clauses, and the capability that meets each requirement."""

    device_id: str
    failed: tuple[FailedClause, ...]
    capability_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """Use cases, all served from the index."""

    index: Index
    groups: GroupStore

    async def resolve(self, scoped: ScopedQuery) -> Query:
        """Return the query with the group's selector. Raises GroupNotFoundError, IndexBehindError."""
        revision = scoped.at_least_revision
        if revision and not await self.index.reached(buckets.DEVICES.name, revision):
            raise IndexBehindError(f"revision {revision}")
        if not scoped.group:
            return scoped.query
        group = await self.groups.get(ids.group_name(scoped.group))
        if group is None:
            raise GroupNotFoundError(scoped.group)
        return replace(scoped.query, selector=Selector(scoped.query.selector.terms + group.selector.terms))

    async def page(self, query: Query) -> tuple[Sequence[DeviceMessage], str]:
        """Return a page of devices and the token of the next one, "" after the last."""
        found = await self.index.find(replace(query, limit=query.limit + 1))
        page = found[: query.limit]
        return page, page[-1].id if len(found) > query.limit else ""

    async def explain(self, query: Query, device_ids: Sequence[str]) -> Sequence[Explanation]:
        """Return one explanation per device, in order."""
        facts = await self.index.facts([ids.device_id(device_id, "explain") for device_id in device_ids])
        return [explain(device_id, facts.get(device_id), query) for device_id in device_ids]


def explain(device_id: str, facts: Facts | None, query: Query) -> Explanation:
    """Explain whether a device with these facts (None: it does not exist) meets a query."""
    if facts is None:
        missing = FailedClause(ClauseKind.NO_DEVICE, f"there is no device {device_id}")
        return Explanation(device_id, (missing,), ("",) * len(query.has))
    failed = list(_outside(facts, query))
    if facts.contract is None:
        if query.has:
            failed.append(
                FailedClause(ClauseKind.NO_CONTRACT, "the device has no contract yet, it has never connected")
            )
        return Explanation(device_id, tuple(failed), ("",) * len(query.has))
    matches = matcher.match_all(query.has, *facts.contract)
    failed += [clause for match in matches for clause in match.failed]
    return Explanation(device_id, tuple(failed), tuple(match.capability_id for match in matches))


def _outside(facts: Facts, query: Query) -> Iterator[FailedClause]:
    for term in query.selector.failing(facts.labels):
        yield FailedClause(ClauseKind.LABEL, _label(term, facts.labels.get(term.key)))
    if query.online is not None and query.online is not facts.online:
        is_, required = ("online", "offline") if facts.online else ("offline", "online")
        if not facts.online and facts.state != ACTIVE:
            is_ = facts.state
        yield FailedClause(ClauseKind.PRESENCE, f"the device is {is_}, {required} is required")


def _label(term: Term, value: str | None) -> str:
    if value is None:
        return f"label {term.key} is missing, {term} is required"
    required = f"no {term.key}" if term.operator is Operator.ABSENT else str(term)
    return f"label {term.key} is {value or 'empty'}, {required} is required"
