"""How one record of a bucket's stream changes the tables of the index. Applying a record twice changes nothing more."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.chassis import buckets
from services.chassis.kv import BucketSpec
from services.chassis.streams import Record
from yggdrasil.jotunheim.v1 import bridge_pb2
from yggdrasil.registry.v1 import registry_pb2 as pb

_Apply = Callable[[sqlite3.Connection, str, Record], Sequence[str]]


@dataclass(frozen=True, slots=True)
class IndexedBucket:
    """A bucket that the index is kept from: its tables, and how a record changes them."""

    spec: BucketSpec
    tables: tuple[str, ...]
    apply: _Apply


def _device(db: sqlite3.Connection, key: str, record: Record) -> Sequence[str]:
    db.execute("DELETE FROM labels WHERE device_id = ?", (key,))
    if record.deleted:
        db.execute("DELETE FROM devices WHERE id = ?", (key,))
        return [key]
    db.execute("INSERT OR REPLACE INTO devices VALUES (?, ?, ?)", (key, record.sequence, record.data))
    labels = pb.StoredDevice.FromString(record.data).labels
    db.executemany("INSERT INTO labels VALUES (?, ?, ?)", [(name, value, key) for name, value in labels.items()])
    return [key]


def _contract(db: sqlite3.Connection, key: str, record: Record) -> Sequence[str]:
    if record.deleted:
        db.execute("DELETE FROM contracts WHERE device_id = ?", (key,))
    else:
        digest = pb.StoredContract.FromString(record.data).digest
        db.execute("INSERT OR REPLACE INTO contracts VALUES (?, ?, ?)", (key, digest, record.data))
    return [key]


def _body(db: sqlite3.Connection, key: str, record: Record) -> Sequence[str]:
    body = pb.StoredContractBody.FromString(record.data)
    rows = [(c.type, c.version, key, position, c.id) for position, c in enumerate(body.capabilities)]
    db.executemany("INSERT OR REPLACE INTO capabilities VALUES (?, ?, ?, ?, ?)", rows)
    return [row[0] for row in db.execute("SELECT device_id FROM contracts WHERE digest = ?", (key,))]


def _session(db: sqlite3.Connection, key: str, record: Record) -> Sequence[str]:
    if record.deleted:
        db.execute("DELETE FROM sessions WHERE device_id = ?", (key,))
        return [key]
    session = bridge_pb2.StoredSession.FromString(record.data).session
    row = (key, int(session.online), session.bridge_id, record.data)
    db.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?)", row)
    return [key]


INDEXED = (
    IndexedBucket(buckets.CONTRACT_BODIES, ("capabilities",), _body),
    IndexedBucket(buckets.DEVICES, ("devices", "labels"), _device),
    IndexedBucket(buckets.CONTRACTS, ("contracts",), _contract),
    IndexedBucket(buckets.SESSIONS, ("sessions",), _session),
)
_BY_STREAM = {bucket.spec.stream: bucket for bucket in INDEXED}


def bucket_of(stream: str) -> IndexedBucket:
    """The bucket on a stream."""
    return _BY_STREAM[stream]


def apply(db: sqlite3.Connection, stream: str, record: Record) -> Sequence[str]:
    """Applies a record inside the caller's transaction; returns the ids of the devices that it changes."""
    bucket = _BY_STREAM[stream]
    return bucket.apply(db, record.subject.removeprefix(bucket.spec.subject("")), record)
