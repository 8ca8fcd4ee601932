"""The two sides of a twin, desired and reported, and their rules.

Pure. A document is nested, capability id → property → value; inside it is kept flat, by path. Only properties that are
readable and writable can be desired: without reading a value, its arrival cannot be verified.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from services.domain import ids, units
from services.domain.arguments import check_given
from services.domain.contract import Contract
from services.domain.errors import ArgumentError, ContractError, InvalidRequestError, YggError
from services.domain.values import Value

Path = tuple[str, str]
"""Capability id and property."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One property of one side: its value, and the revision and time of the last change.

    Reported side only: `problem` is why the device could not apply the value desired at `problem_revision`, and
    `settled_revision` is the last desired revision that the device had or responded to, 0 if it is to be sent again.
    """

    value: Value
    revision: int
    time: datetime
    problem: str = ""
    problem_revision: int = 0
    settled_revision: int = 0


@dataclass(frozen=True, slots=True)
class Side:
    """One side as of `revision` (0: never written). `contract_revision` and `session_epoch`: reported side only."""

    revision: int = 0
    entries: Mapping[Path, Entry] = field(default_factory=dict)
    time: datetime | None = None
    author: str = ""
    contract_revision: int = 0
    session_epoch: int = 0

    def values(self) -> dict[Path, Value]:
        """Return the values, ordered by path."""
        return {path: entry.value for path, entry in sorted(self.entries.items()) if entry.value is not None}


@dataclass(frozen=True, slots=True)
class Patch:
    """The values to set and those to remove: single properties, or all of a capability's."""

    sets: Mapping[Path, Value]
    removes: frozenset[Path] = frozenset()
    removes_capabilities: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Report:
    """A device's report of one property; None if it could not be read. `problem`: why it could not be set."""

    value: Value
    problem: str = ""


def dotted(path: Path) -> str:
    """Return the path as text: `led0.brightness`."""
    return ".".join(path)


def nested(values: Mapping[Path, Value]) -> dict[str, Value]:
    """Return the document of flat values."""
    document: dict[str, Value] = {}
    for (capability_id, prop), value in values.items():
        inner = document.setdefault(capability_id, {})
        if isinstance(inner, dict):
            inner[prop] = value
    return document


def parse(document: Mapping[str, Value], contract: Contract) -> Patch:
    """Return the merge patch (RFC 7396) in a document, checked against the contract.

    Raises ContractError or ArgumentError, with the path in message and data, for values that the contract does not have
    or allow, and InvalidRequestError for a malformed document.
    """
    sets: dict[Path, Value] = {}
    removes, capabilities = set[Path](), set[str]()
    for capability_id, members in document.items():
        if members is None:
            capabilities.add(capability_id)
        elif not isinstance(members, dict):
            at = ids.printable(capability_id)
            raise InvalidRequestError(
                f"{at} is not a map", hint='Write {"led0": {"on": true}}: capability, property, value.', path=at
            )
        else:
            for prop, value in members.items():
                path = (capability_id, prop)
                if value is None:
                    removes.add(path)
                else:
                    sets[path] = checked(path, value, contract)
    return Patch(sets, frozenset(removes), frozenset(capabilities))


def checked(path: Path, value: Value, contract: Contract) -> Value:
    """Return the value as stored: without unit, as int or double by the contract. Raises as `parse` does."""
    at = ids.printable(dotted(path))
    try:
        prop = contract.writable(*path)
        contract.readable(*path)
        if isinstance(value, dict) and units.split(value) is None:
            raise ArgumentError(
                "it is nested too deeply", hint='A value is 40 or {"value": 40, "unit": "%"}, without further nesting.'
            )
        return check_given(path[1], prop.schema, value)
    except ContractError as e:
        raise type(e)(f"{at}: {e.message}", hint=e.hint, **{**e.data, "path": at}) from e


def desire(
    old: Side, patch: Patch, *, replacing: bool, now: datetime, author: str, drifting: Collection[Path] = ()
) -> Side:
    """Return the desired side after a patch; `old` itself if nothing changes.

    A value of a `drifting` path gets a new revision even if it is unchanged, so that it is sent to the device again.
    """
    kept = {} if replacing else dict(old.entries)
    for path in [path for path in kept if path in patch.removes or path[0] in patch.removes_capabilities]:
        del kept[path]
    revision = old.revision + 1
    for path, value in patch.sets.items():
        before = old.entries.get(path)
        stays = before is not None and same(before.value, value) and path not in drifting
        kept[path] = before if before is not None and stays else Entry(value, revision, now)
    if kept == old.entries:
        return old
    return replace(old, revision=revision, entries=kept, time=now, author=author)


def report(
    old: Side,
    reports: Mapping[Path, Report],
    desired: Side,
    *,
    complete: bool,
    answers: int,
    contract_revision: int,
    session_epoch: int,
    now: datetime,
    author: str,
) -> Side:
    """Return the reported side after a device's report; `old` itself if nothing changes.

    `answers` is the desired revision that the report responds to, 0 for none. A complete report removes properties that
    it does not contain, and its differences from the desired side are sent to the device again.
    """
    kept = {} if complete else dict(old.entries)
    revision = old.revision + 1
    for path, one in reports.items():
        before = old.entries.get(path)
        problem = (one.problem, answers) if one.problem else _open_problem(before, answers)
        settled = 0 if complete else max(before.settled_revision if before else 0, answers)
        target = desired.entries.get(path)
        if target is not None and same(target.value, one.value):
            settled = target.revision
        if before is not None and same(before.value, one.value):
            kept[path] = replace(before, problem=problem[0], problem_revision=problem[1], settled_revision=settled)
        else:
            kept[path] = Entry(one.value, revision, now, *problem, settled)
    if kept == old.entries and old.revision:  # a new contract is recorded; a new session alone is not worth a write
        same_contract = contract_revision == old.contract_revision
        return old if same_contract else replace(old, contract_revision=contract_revision)
    return Side(revision, kept, now, author, contract_revision, session_epoch)


def _open_problem(before: Entry | None, answers: int) -> tuple[str, int]:
    """Return the previous problem unless the device has responded to the same or a later revision without one."""
    if before is None or not before.problem or answers >= before.problem_revision:
        return "", 0
    return before.problem, before.problem_revision


def same(left: Value, right: Value) -> bool:
    """Return whether two values are equal and of one kind: `true` is not 1."""
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def delta(desired: Side, reported: Side) -> dict[Path, Value]:
    """Return the desired values that are not reported as such, ordered by path."""
    have = reported.entries
    return {
        path: value for path, value in desired.values().items() if path not in have or not same(have[path].value, value)
    }


def drifted(desired: Side, reported: Side) -> set[Path]:
    """Return the paths that differ from the desired value although the device had it or has responded to it.

    They were written past the twin, changed by the device, or set to the nearest possible value, and are not resent
    automatically.
    """
    found = set[Path]()
    for path in delta(desired, reported):
        has = reported.entries.get(path)
        if has is not None and has.value is not None and has.settled_revision >= desired.entries[path].revision:
            found.add(path)
    return found


def allowed(values: Mapping[Path, Value], contract: Contract) -> dict[Path, Value]:
    """Return the values that the contract still allows."""
    return {path: value for path, value in values.items() if not violation(path, value, contract)}


def violation(path: Path, value: Value, contract: Contract | None) -> str:
    """Return why the contract does not allow a desired value; "" if it does, or if there is no contract yet."""
    if contract is None:
        return ""
    try:
        checked(path, value, contract)
    except YggError as e:
        return e.message
    return ""


def changed(old: Side, new: Side) -> Sequence[Path]:
    """Return the paths with different values, ordered."""
    before, after = old.values(), new.values()
    return sorted(
        path
        for path in {*before, *after}
        if path not in before or path not in after or not same(before[path], after[path])
    )
