"""Conversion of records in the buckets' streams to rows of the index, one by one or in bulk for a new index.

Applying a record is idempotent. Both ways produce the same rows; during a bulk fill there are no secondary indexes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from services.chassis import buckets
from services.chassis import records as quarantine
from services.chassis.bulk import Change
from services.chassis.kv import BucketSpec
from services.chassis.requests import check_times
from services.registry.adapters import records, wire
from services.registry.adapters.catalogue import Catalogue
from yggdrasil.jotunheim.v1 import bridge_pb2
from yggdrasil.registry.v1 import registry_pb2 as pb

Row = tuple[Any, ...]
_GONE = (None, None, None)


@dataclass(frozen=True, slots=True)
class IndexedBucket:
    """An indexed bucket: its table, and the row of a record (revision and id come first)."""

    spec: BucketSpec
    table: str
    make: Callable[[Catalogue, Change], Row]

    def row(self, catalogue: Catalogue, change: Change) -> Row:
        """Return the row; an unreadable record gets that of a deleted one."""
        if not change.deleted:
            row = quarantine.try_decode(self.spec.name, change.key, change.data, lambda _: self.make(catalogue, change))
            if row is not None:
                return row
        return (change.sequence, change.key, *_GONE)

    @property
    def insert(self) -> str:
        """Return the statement that inserts a row."""
        return f"INSERT OR REPLACE INTO {self.table} VALUES (?, ?, ?, ?, ?)"  # noqa: S608 - text of this module


def _device(catalogue: Catalogue, change: Change) -> Row:
    state, entries, device = wire.shown(change.data)
    number = catalogue.labels
    labels = ",".join([str(number[entry]) for entry in entries])
    return change.sequence, change.key, state, f"[{labels}]", device


def _contract(catalogue: Catalogue, change: Change) -> Row:
    stored = pb.StoredContract.FromString(change.data)
    check_times(stored)
    build = catalogue.builds[stored.model, stored.device_class, stored.firmware_version, stored.slot]
    return change.sequence, change.key, catalogue.bodies[stored.digest], build, stored.revision


def _session(catalogue: Catalogue, change: Change) -> Row:
    session = bridge_pb2.StoredSession.FromString(change.data).session
    check_times(session)
    expires = session.certificate_expire_time if session.HasField("certificate_expire_time") else None
    device = pb.Device(presence=records.presence_to_proto(session), certificate_expire_time=expires)
    bridge = session.bridge_id if session.online else None
    return change.sequence, change.key, bridge, device.SerializeToString(), expires.seconds if expires else None


DEVICES = IndexedBucket(buckets.DEVICES, "devices", _device)
CONTRACTS = IndexedBucket(buckets.CONTRACTS, "contracts", _contract)
SESSIONS = IndexedBucket(buckets.SESSIONS, "sessions", _session)
DEVICE_BUCKETS = (DEVICES, CONTRACTS, SESSIONS)
"""The buckets that a device consists of. Bodies are separate: they never change, and exist before a contract refers to
them.
"""
BODIES = buckets.CONTRACT_BODIES
STREAMS = (BODIES.stream, *(bucket.spec.stream for bucket in DEVICE_BUCKETS))
_BY_STREAM = {bucket.spec.stream: bucket for bucket in DEVICE_BUCKETS}


def apply(db: sqlite3.Connection, catalogue: Catalogue, stream: str, changes: Sequence[Change]) -> None:
    """Apply records inside the caller's transaction."""
    if stream == BODIES.stream:
        _apply_bodies(catalogue, changes)
        return
    bucket = _BY_STREAM[stream]
    for change in changes:
        row = bucket.row(catalogue, change)
        if bucket is DEVICES:
            _relabel(db, row)
        db.execute(bucket.insert, row)  # replaces the previous row by its unique id


def _relabel(db: sqlite3.Connection, row: Row) -> None:
    _, device_id, _, labels, _ = row
    before = db.execute("SELECT labels FROM devices WHERE id = ?", (device_id,)).fetchone()
    if before == (labels,):
        return
    if before is not None:
        db.execute(
            "DELETE FROM labels WHERE id = ? AND label IN (SELECT value FROM json_each(?))", (device_id, *before)
        )
    if labels is not None:
        db.execute("INSERT OR IGNORE INTO labels SELECT value, ? FROM json_each(?)", (device_id, labels))


class Bulk:
    """Fills a table that has no secondary index; `finish` leaves one row per key."""

    def __init__(self, db: sqlite3.Connection, catalogue: Catalogue, stream: str) -> None:
        self._db, self._catalogue, self._bucket = db, catalogue, _BY_STREAM.get(stream)
        self._newest: dict[str, int] = {}

    def resume(self) -> None:
        """Continue with a table that already has rows."""
        if self._bucket is not None:
            self._newest = dict(self._db.execute(f"SELECT id, revision FROM {self._bucket.table}"))  # noqa: S608 - text of this module

    def add(self, changes: Sequence[Change]) -> None:
        """Add records, in the order of their sequences."""
        if self._bucket is None:
            _apply_bodies(self._catalogue, changes)
            return
        make, catalogue = self._bucket.row, self._catalogue
        rows = [make(catalogue, change) for change in changes]
        self._db.executemany(self._bucket.insert, rows)
        newest, before = self._newest, len(self._newest)
        latest = {row[1]: row[0] for row in rows}
        again = latest.keys() & newest.keys()
        old = [(newest[key],) for key in again]
        newest |= latest
        if len(newest) - before + len(again) < len(rows):  # a repeated key in this batch
            old += [(row[0],) for row in rows if latest[row[1]] != row[0]]
        if old:
            self._db.executemany(f"DELETE FROM {self._bucket.table} WHERE revision = ?", old)  # noqa: S608 - text of this module


def _apply_bodies(catalogue: Catalogue, changes: Sequence[Change]) -> None:
    for change in changes:
        if not change.deleted:
            quarantine.try_decode(BODIES.name, change.key, change.data, partial(catalogue.add_body, change.key))
