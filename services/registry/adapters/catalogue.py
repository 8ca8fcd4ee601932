"""Values that many devices share, by number: labels, builds, and contract bodies with their capabilities.

A requirement is matched once against each distinct body, however many devices have it. The cache in memory is bounded;
the tables of the index are complete.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

from services.chassis import codec
from services.domain import matcher
from services.domain.capability import Capability
from services.domain.contract import Contract, Refusal
from services.domain.requirements import Requirement
from services.registry.adapters import wire
from yggdrasil.common.v1 import contract_pb2 as kp
from yggdrasil.registry.v1 import registry_pb2 as pb

MAX_NUMBERS = 65_536
"""Cached numbers of labels, builds and bodies, each."""
MAX_BODIES = 4096
"""Cached decoded bodies."""
MAX_REQUIREMENTS = 1024
"""Cached requirements with their matches."""
MAX_FRAGMENTS = 4096
"""Cached message fields of a body and a build."""
_K = TypeVar("_K")
_V = TypeVar("_V")


class _BoundedCache(dict[_K, _V]):
    """Cache of the results of `make`; cleared completely when it is full."""

    def __init__(self, max_size: int, make: Callable[[_K], _V]) -> None:
        super().__init__()
        self._max_size, self._make = max_size, make

    def __missing__(self, key: _K) -> _V:
        if len(self) >= self._max_size:
            self.clear()
        value = self[key] = self._make(key)
        return value


class _Matches:
    """The bodies that meet a requirement, among the first `seen` that have its type."""

    def __init__(self) -> None:
        self.numbers, self.seen = set[int](), 0


class Catalogue:
    """Numbers of shared values, and matches of requirements. Use only in the thread of the connection `db`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.labels: _BoundedCache[bytes, int] = _BoundedCache(
            MAX_NUMBERS, lambda entry: self._number("label_names", ("key", "value"), wire.label_of(entry))
        )
        self.builds: _BoundedCache[tuple[str, str, str, str], int] = _BoundedCache(
            MAX_NUMBERS,
            lambda build: self._number("builds", ("model", "device_class", "firmware_version", "slot"), build),
        )
        self.bodies: _BoundedCache[str, int] = _BoundedCache(
            MAX_NUMBERS, lambda digest: self._number("bodies", ("digest",), (digest,))
        )
        self._decoded = _BoundedCache(MAX_BODIES, self._decode)
        self._fragments = _BoundedCache(MAX_FRAGMENTS, self._make_fragment)
        self._matches: _BoundedCache[Requirement, _Matches] = _BoundedCache(MAX_REQUIREMENTS, lambda _: _Matches())
        self._complete = {row[0] for row in db.execute("SELECT no FROM bodies WHERE body IS NOT NULL")}
        self._of_type: defaultdict[str, list[int]] = defaultdict(list)
        for number, semantic_type in db.execute("SELECT body, type FROM body_types"):
            self._of_type[semantic_type].append(number)

    def _number(self, table: str, columns: Sequence[str], values: Sequence[str]) -> int:
        matches = " AND ".join(f"{column} = ?" for column in columns)
        row = self._db.execute(f"SELECT no FROM {table} WHERE {matches}", values).fetchone()  # noqa: S608 - text of this module
        if row is None:
            names, marks = ", ".join(columns), ", ".join("?" * len(columns))
            sql = f"INSERT INTO {table} ({names}) VALUES ({marks}) RETURNING no"  # noqa: S608 - text of this module
            row = self._db.execute(sql, values).fetchone()
        return int(row[0])

    def add_body(self, digest: str, body: bytes) -> None:
        """Store a body; idempotent. Raises the decoding error of an unreadable body."""
        read = _read(body)
        number = self.bodies[digest]
        updated = self._db.execute("UPDATE bodies SET body = ? WHERE no = ? AND body IS NULL", (body, number)).rowcount
        if not updated:
            return
        self._complete.add(number)
        self._decoded.pop(number, None)
        types = {capability.type for capability in read.capabilities}
        self._db.executemany("INSERT INTO body_types VALUES (?, ?)", [(number, one) for one in types])
        for one in types:
            self._of_type[one].append(number)

    def has_body(self, digest: str) -> bool:
        """Return whether the body of a digest is known."""
        return self.bodies[digest] in self._complete

    def _decode(self, number: int) -> tuple[tuple[Capability, ...], tuple[Refusal, ...]]:
        row = self._db.execute("SELECT body FROM bodies WHERE no = ?", (number,)).fetchone()
        contract = _read(row[0] or b"")
        return contract.capabilities, contract.refused

    def contract(self, number: int) -> tuple[tuple[Capability, ...], tuple[Refusal, ...]]:
        """Return the accepted and the refused capabilities of a body."""
        return self._decoded[number]

    def matching(self, requirement: Requirement) -> set[int]:
        """Return the bodies that meet the requirement."""
        found, candidates = self._matches[requirement], self._of_type.get(requirement.type, [])
        for number in candidates[found.seen :]:
            if matcher.match(requirement, *self._decoded[number]).capability_id:
                found.numbers.add(number)
        found.seen = len(candidates)
        return found.numbers

    def fragment(self, body: int, build: int) -> bytes:
        """Return the fields of the message Device that come from a body and a build, serialised."""
        return self._fragments[body, build] if body in self._complete else self._make_fragment((body, build))

    def _make_fragment(self, key: tuple[int, int]) -> bytes:
        columns = "model, device_class, firmware_version, slot"
        row = self._db.execute(f"SELECT {columns} FROM builds WHERE no = ?", (key[1],)).fetchone()  # noqa: S608 - text of this module
        references = [pb.CapabilityRef(id=c.id, type=c.type, version=c.version) for c in self._decoded[key[0]][0]]
        model, device_class, firmware_version, slot = row
        return pb.Device(
            model=model,
            device_class=device_class,
            firmware_version=firmware_version,
            slot=slot,
            capabilities=references,
        ).SerializeToString()


def _read(body: bytes) -> Contract:
    stored = pb.StoredContractBody.FromString(body)
    return codec.contract_from_proto(kp.Contract(capabilities=stored.capabilities, refused=stored.refused))
