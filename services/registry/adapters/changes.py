"""Changes since a position, which holds a sequence of each stream: a watch has sent everything up to them.

A device is sent in its current state when the last of its changes is reached. A position therefore stands for a set of
devices that were sent; a watch that resumes from it, on any replica, omits none and repeats none. A bounded part of
each stream is read in turn, so that a burst in one does not delay the others.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from services.registry.adapters.rows import DEVICE_BUCKETS
from services.registry.ports import Position

_ROWS_PER_STREAM = 200
"""Maximum rows read from each stream in one step."""
_TABLES = [bucket.table for bucket in DEVICE_BUCKETS]
_STREAMS = [bucket.spec.stream for bucket in DEVICE_BUCKETS]


@dataclass(frozen=True, slots=True)
class Step:
    """Devices to send, each with the sequence of its deletion (0: it exists) and the position after it."""

    devices: Sequence[tuple[str, int, Position]]
    position: Position


def step(db: sqlite3.Connection, applied: Mapping[str, int], position: Position, among: Collection[str]) -> Step:
    """Return the next changes after `position`, only of the devices in `among` unless it is empty."""
    devices: list[tuple[str, int, Position]] = []
    for number, table in enumerate(_TABLES):
        rows = db.execute(_sql(table, bool(among)), _values(position, number, among)).fetchall()
        for device_id, state, *revisions in rows:
            position = position.at(number, revisions[number])
            if all((revision or 0) <= position.sequences[n] for n, revision in enumerate(revisions)):
                deleted = revisions[0] if revisions[0] and state is None else 0
                devices.append((device_id, deleted, position))
        if len(rows) < _ROWS_PER_STREAM:
            position = position.at(number, max(position.sequences[number], applied[_STREAMS[number]]))
    return Step(devices, replace(position))


def _sql(table: str, some: bool) -> str:
    among = " AND x.id IN (SELECT value FROM json_each(?))" if some else ""
    index = f"INDEXED BY {table}_by_id" if some else "NOT INDEXED"
    return (
        "SELECT x.id, (SELECT state FROM devices d WHERE d.id = x.id),"  # noqa: S608 - names of tables
        " (SELECT revision FROM devices d WHERE d.id = x.id),"
        " (SELECT revision FROM contracts c WHERE c.id = x.id),"
        " (SELECT revision FROM sessions s WHERE s.id = x.id)"
        f" FROM {table} x {index} WHERE x.revision > ?{among} ORDER BY x.revision LIMIT {_ROWS_PER_STREAM}"
    )


def _values(position: Position, number: int, among: Collection[str]) -> tuple[int | str, ...]:
    after = position.sequences[number]
    return (after, json.dumps(list(among))) if among else (after,)
