"""A twin's two sides, what is desired of a device's properties and what they are, and the rules on them.

Pure. A document is nested, capability id → property → value; inside it is kept flat, by path. Only what the contract
lets be read and written can be desired: what cannot be read back could never be seen to have arrived.
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
    """One property of one side: its value, and the revision and time that brought it.

    Reported side only: `problem` says why the device could not be set to what was desired at `problem_revision`, and
    `settled_revision` is the desired revision that the device last had or answered, 0 where it will be sent again.
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
        """What has a value, ordered by path."""
        return {path: entry.value for path, entry in sorted(self.entries.items()) if entry.value is not None}


@dataclass(frozen=True, slots=True)
class Patch:
    """What to set, and what to remove: single properties, or all of a capability's."""

    sets: Mapping[Path, Value]
    removes: frozenset[Path] = frozenset()
    removes_capabilities: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Report:
    """What a device said of one property; None where it could not be read. `problem`: why it could not be set."""

    value: Value
    problem: str = ""


def dotted(path: Path) -> str:
    """As people write it: `led0.brightness`."""
    return ".".join(path)


def nested(values: Mapping[Path, Value]) -> dict[str, Value]:
    """The document of flat values."""
    document: dict[str, Value] = {}
    for (capability_id, prop), value in values.items():
        inner = document.setdefault(capability_id, {})
        if isinstance(inner, dict):
            inner[prop] = value
    return document


def parse(document: Mapping[str, Value], contract: Contract) -> Patch:
    """The patch that a document stands for (RFC 7396), checked against the contract.

    Raises ContractError or ArgumentError, with the path in message and data, for what the contract does not have or
    allow, and InvalidRequestError for what is no such document.
    """
    sets: dict[Path, Value] = {}
    removes, whole = set[Path](), set[str]()
    for capability_id, members in document.items():
        if members is None:
            whole.add(capability_id)
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
    return Patch(sets, frozenset(removes), frozenset(whole))


def checked(path: Path, value: Value, contract: Contract) -> Value:
    """The value as it is kept: without its unit, as an int or a double as the contract wants. Raises as `parse`."""
    at = ids.printable(dotted(path))
    try:
        prop = contract.writable(*path)
        contract.readable(*path)
        if isinstance(value, dict) and units.split(value) is None:
            raise ArgumentError(
                "it is nested too deep", hint='A value is 40 or {"value": 40, "unit": "%"}, nothing deeper.'
            )
        return check_given(path[1], prop.schema, value)
    except ContractError as e:
        raise type(e)(f"{at}: {e.message}", hint=e.hint, **{**e.data, "path": at}) from e


def desire(
    old: Side, patch: Patch, *, replacing: bool, now: datetime, author: str, drifting: Collection[Path] = ()
) -> Side:
    """The desired side after a patch; `old` itself where nothing changes.

    Of `drifting` paths the same value is desired again: with a new revision it is sent to the device again.
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
    said: Mapping[Path, Report],
    desired: Side,
    *,
    complete: bool,
    answers: int,
    contract_revision: int,
    session_epoch: int,
    now: datetime,
    author: str,
) -> Side:
    """The reported side after a device's report; `old` itself where it says nothing new.

    `answers` is the desired revision that it answers, 0 for none. A complete one forgets what is not in it, and what it
    has otherwise than desired is sent to the device again.
    """
    kept = {} if complete else dict(old.entries)
    revision = old.revision + 1
    for path, one in said.items():
        before = old.entries.get(path)
        problem = (one.problem, answers) if one.problem else _standing(before, answers)
        settled = 0 if complete else max(before.settled_revision if before else 0, answers)
        wanted = desired.entries.get(path)
        if wanted is not None and same(wanted.value, one.value):
            settled = wanted.revision
        if before is not None and same(before.value, one.value):
            kept[path] = replace(before, problem=problem[0], problem_revision=problem[1], settled_revision=settled)
        else:
            kept[path] = Entry(one.value, revision, now, *problem, settled)
    if kept == old.entries and old.revision:  # another contract is noted, another session alone is not worth a write
        same_contract = contract_revision == old.contract_revision
        return old if same_contract else replace(old, contract_revision=contract_revision)
    return Side(revision, kept, now, author, contract_revision, session_epoch)


def _standing(before: Entry | None, answers: int) -> tuple[str, int]:
    """A problem stands until the device answers the same or a later revision without one."""
    if before is None or not before.problem or answers >= before.problem_revision:
        return "", 0
    return before.problem, before.problem_revision


def same(left: Value, right: Value) -> bool:
    """Whether two values are one: `true` is not 1."""
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def delta(desired: Side, reported: Side) -> dict[Path, Value]:
    """What is desired and not reported so, ordered by path."""
    have = reported.entries
    return {
        path: value for path, value in desired.values().items() if path not in have or not same(have[path].value, value)
    }


def drifted(desired: Side, reported: Side) -> set[Path]:
    """What the device has otherwise than desired although it had it so, or answered: it is not sent again by itself.

    Written past the twin, changed by the device, or set to the nearest value that it has.
    """
    found = set[Path]()
    for path in delta(desired, reported):
        has = reported.entries.get(path)
        if has is not None and has.value is not None and has.settled_revision >= desired.entries[path].revision:
            found.add(path)
    return found


def settable(values: Mapping[Path, Value], contract: Contract) -> dict[Path, Value]:
    """Those that the contract still allows as they are."""
    return {path: value for path, value in values.items() if not obstacle(path, value, contract)}


def obstacle(path: Path, value: Value, contract: Contract | None) -> str:
    """Why the contract does not allow a desired value; empty where it does, or where there is no contract yet."""
    if contract is None:
        return ""
    try:
        checked(path, value, contract)
    except YggError as e:
        return e.message
    return ""


def changed(old: Side, new: Side) -> Sequence[Path]:
    """The paths whose value differs, ordered."""
    before, after = old.values(), new.values()
    return sorted(
        path
        for path in {*before, *after}
        if path not in before or path not in after or not same(before[path], after[path])
    )
