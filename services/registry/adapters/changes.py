"""What changed since a position: the sequences of the streams that a watch has told everything up to.

A device is told when the last of its changes comes up, and then as it is now; a position therefore stands for a set of
devices told, and going on from it, at any replica, leaves out none and repeats none. One stream after the other, a
bounded part of each, so that a flood in one does not keep back the others.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from services.registry.adapters.rows import SHOWN
from services.registry.ports import Position

_PART = 200
_TABLES = [bucket.table for bucket in SHOWN]
_STREAMS = [bucket.spec.stream for bucket in SHOWN]


@dataclass(frozen=True, slots=True)
class Step:
    """Devices to tell, each with the sequence of its end (0: it is there) and the position that stands after it."""

    told: Sequence[tuple[str, int, Position]]
    position: Position


def step(db: sqlite3.Connection, applied: Mapping[str, int], position: Position, among: Collection[str]) -> Step:
    """The next changes after `position`, of those devices only where `among` names some."""
    told: list[tuple[str, int, Position]] = []
    for number, table in enumerate(_TABLES):
        rows = db.execute(_sql(table, bool(among)), _values(position, number, among)).fetchall()
        for device_id, state, *revisions in rows:
            position = position.at(number, revisions[number])
            if all((revision or 0) <= position.sequences[n] for n, revision in enumerate(revisions)):
                deleted = revisions[0] if revisions[0] and state is None else 0
                told.append((device_id, deleted, position))
        if len(rows) < _PART:
            position = position.at(number, max(position.sequences[number], applied[_STREAMS[number]]))
    return Step(told, replace(position))


def _sql(table: str, some: bool) -> str:
    among = " AND x.id IN (SELECT value FROM json_each(?))" if some else ""
    index = f"INDEXED BY {table}_by_id" if some else "NOT INDEXED"
    return (
        "SELECT x.id, (SELECT state FROM devices d WHERE d.id = x.id),"  # noqa: S608 - names of tables
        " (SELECT revision FROM devices d WHERE d.id = x.id),"
        " (SELECT revision FROM contracts c WHERE c.id = x.id),"
        " (SELECT revision FROM sessions s WHERE s.id = x.id)"
        f" FROM {table} x {index} WHERE x.revision > ?{among} ORDER BY x.revision LIMIT {_PART}"
    )


def _values(position: Position, number: int, among: Collection[str]) -> tuple[int | str, ...]:
    after = position.sequences[number]
    return (after, json.dumps(list(among))) if among else (after,)
