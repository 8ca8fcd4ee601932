"""The read side: an SQLite file of the replica, derived from the buckets' streams, deletable at any time.

Owns the connections and their threads. The event loop's thread writes changes of the streams in short transactions, and
reads single rows: switching threads costs more than such a statement. Searches have a thread and a read-only connection
of their own, and so have checkpoints of the write-ahead log: the loop never waits for the disk. `follower` supplies the
changes; a new file is filled in bulk before it is queried.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.chassis.bulk import Change, StreamReader
from services.chassis.errors import StoreUnavailableError
from services.registry.adapters import changes, files, records, rows, search
from services.registry.adapters.catalogue import Catalogue
from services.registry.adapters.views import Views
from services.registry.errors import IndexDiskError
from services.registry.model import DeviceView
from services.registry.ports import DeviceChange, Facts, Position, Query
from yggdrasil.registry.v1 import registry_pb2 as pb

REACH_TIMEOUT_S = 5.0
"""Maximum time that a reader waits for a revision, in seconds."""
TRANSACTION_RECORDS = 64
"""Maximum records of a transaction, which blocks the event loop."""
CHECKPOINT_RECORDS = 8192
"""Applied records after which the write-ahead log is checkpointed."""
CLOSE_STEP_S = 0.05
"""Interval at which a bulk fill is interrupted until it ends, in seconds."""
DISK_RETRY_S = 2.0
"""Pause before a failed write to the disk is repeated, in seconds."""
MAX_BEHIND_RATIO = 0.5
"""Ratio of missing to applied records from which on a file is replaced, not updated."""
BASE_RECORDS = 10_000
"""Added to the applied records, so that a small file is updated."""
_log = logging.getLogger(__name__)
_BRIDGES = """
WITH RECURSIVE found(bridge) AS (
  SELECT min(bridge) FROM sessions WHERE bridge IS NOT NULL
  UNION ALL SELECT (SELECT min(s.bridge) FROM sessions s WHERE s.bridge > found.bridge) FROM found
  WHERE found.bridge IS NOT NULL
) SELECT bridge FROM found WHERE bridge IS NOT NULL
"""
"""One step per bridge, not per session."""


class SqliteIndex:
    """The port Index, and its updates. Call `open` first; until then every query raises StoreUnavailableError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._searching = ThreadPoolExecutor(1, thread_name_prefix="search")
        self._checkpointing = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._open_db: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._catalogue_of: Catalogue | None = None
        self._complete = False
        self._epoch = ""
        self._applied: dict[str, int] = {}
        self._unsaved = 0
        self._moved = asyncio.Condition()
        self._filling, self._closing = threading.Lock(), False

    @property
    def _db(self) -> sqlite3.Connection:
        if self._open_db is None or not self._complete:
            raise StoreUnavailableError("the index is being built", hint="Try again in a moment.")
        return self._open_db

    @property
    def _catalogue(self) -> Catalogue:
        assert self._catalogue_of is not None  # noqa: S101 - set with the connection
        return self._catalogue_of

    @property
    def _views(self) -> Views:
        return Views(self._db, self._catalogue)

    async def close(self) -> None:
        """Close the file; interrupts a running `load` or `catch_up`."""
        self._closing = True
        while not self._filling.acquire(blocking=False):
            assert self._open_db is not None  # noqa: S101 - it is being filled
            self._open_db.interrupt()
            await asyncio.sleep(CLOSE_STEP_S)
        self._searching.shutdown()
        self._checkpointing.shutdown()
        for db in (self._reader, self._open_db):
            if db is not None:
                db.close()

    def open(self, created: Mapping[str, str], last: Mapping[str, int]) -> bool:
        """Open the file or create a new one, for streams with these creation times; return whether it is complete.

        A file is replaced, too, if it is so far behind the sequences `last` that filling a new one is faster. Raises
        IndexDiskError, after which it can be called again.
        """
        with files.convert_disk_errors(self.path):
            return self._open(created, last)

    def _open(self, created: Mapping[str, str], last: Mapping[str, int]) -> bool:
        if self._open_db is not None:
            self._open_db.close()
        db = files.open_complete(self.path, created)
        if db is not None and _behind(db, last) > MAX_BEHIND_RATIO:
            db.close()
            db = None
        self._complete = db is not None
        self._open_db = db or files.make(self.path, created)
        self._catalogue_of = Catalogue(self._open_db)
        self._applied = dict(self._open_db.execute("SELECT stream, applied FROM streams"))
        shown = "".join(created[bucket.spec.stream] for bucket in rows.DEVICE_BUCKETS)
        self._epoch = hashlib.sha256(shown.encode()).hexdigest()[:8]
        if self._complete:
            self._reader = files.connect_to_read(self.path)
        return self._complete

    def _batches(self, reader: StreamReader, stream: str, last: Mapping[str, int]) -> Iterator[Sequence[Change]]:
        prefix = f"$KV.{stream.removeprefix('KV_')}."
        for batch in reader.read(stream, prefix, after=self._applied[stream], until=last[stream]):
            if self._closing:
                raise StoreUnavailableError("the index is being closed")
            yield batch

    def load(self, reader: StreamReader, last: Mapping[str, int]) -> None:
        """Fill a new file up to the sequences `last`, bodies first. Blocks; call in a thread while nothing else runs.

        After StoreUnavailableError the next call continues.
        """
        with self._filling:
            self._load(reader, last)

    def _load(self, reader: StreamReader, last: Mapping[str, int]) -> None:
        db = self._open_db
        assert db is not None  # noqa: S101 - open comes first
        for stream in rows.STREAMS:
            bulk = rows.Bulk(db, self._catalogue, stream)
            if self._applied[stream]:
                bulk.resume()
            for batch in self._batches(reader, stream, last):
                db.execute("BEGIN")
                bulk.add(batch)
                self._store_applied(db, stream, batch[-1].sequence)
                db.execute("COMMIT")
                self._applied[stream] = batch[-1].sequence
        files.finish(db)
        self._reader = files.connect_to_read(self.path)
        self._complete = True

    def catch_up(self, reader: StreamReader, last: Mapping[str, int]) -> None:
        """Update a complete file up to the sequences `last`; blocks as `load` does."""
        with self._filling, files.checkpointed(self._db):
            for stream in rows.STREAMS:
                for batch in self._batches(reader, stream, last):
                    self._apply(stream, batch)

    def applied(self, stream: str) -> int:
        """Return the last applied sequence of a stream."""
        return self._applied[stream]

    def has_body(self, digest: str) -> bool:
        """Return whether the body of a contract is known."""
        return self._catalogue.has_body(digest)

    async def apply(self, stream: str, batch: Sequence[Change]) -> None:
        """Apply a batch of a stream in short transactions, and wake waiters.

        It waits while the file cannot be written; queries still work.
        """
        for begin in range(0, len(batch), TRANSACTION_RECORDS):
            await self._apply_when_writable(stream, batch[begin : begin + TRANSACTION_RECORDS])
            async with self._moved:
                self._moved.notify_all()
            await asyncio.sleep(0)
        self._unsaved += len(batch)
        if self._unsaved >= CHECKPOINT_RECORDS:
            self._unsaved = 0
            self._checkpointing.submit(_checkpoint, self.path)

    async def _apply_when_writable(self, stream: str, piece: Sequence[Change]) -> None:
        while True:
            try:
                return self._apply(stream, piece)
            except IndexDiskError as e:
                _log.warning("index write failed", extra={"stream": stream, "why": e.message})
            await asyncio.sleep(DISK_RETRY_S)

    def _apply(self, stream: str, piece: Sequence[Change]) -> None:
        db = self._db
        with files.convert_disk_errors(self.path):
            try:
                db.execute("BEGIN IMMEDIATE")
                rows.apply(db, self._catalogue, stream, piece)
                self._store_applied(db, stream, piece[-1].sequence)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # SQLite itself ends it after some errors
                    db.execute("ROLLBACK")
                self._catalogue_of = Catalogue(db)  # its numbers may have been rolled back
                raise
        self._applied[stream] = piece[-1].sequence

    @staticmethod
    def _store_applied(db: sqlite3.Connection, stream: str, sequence: int) -> None:
        db.execute("UPDATE streams SET applied = ? WHERE stream = ?", (sequence, stream))

    async def reached(self, bucket: str, revision: int) -> bool:
        """Wait at most REACH_TIMEOUT_S seconds; return False if the index is still behind."""
        return await self._until(lambda: self._applied.get(f"KV_{bucket}", 0) >= revision)

    async def reached_position(self, position: Position) -> bool:
        """Wait until the index has applied a position, as `reached` does."""
        return await self._until(lambda: self.position().reaches(position))

    async def _until(self, is_reached: Callable[[], bool]) -> bool:
        if is_reached():
            return True
        try:
            async with asyncio.timeout(REACH_TIMEOUT_S), self._moved:
                return await self._moved.wait_for(is_reached)
        except TimeoutError:
            return False

    def position(self) -> Position:
        """Return the current position of the index."""
        return Position(self._epoch, tuple(self._applied.get(bucket.spec.stream, 0) for bucket in rows.DEVICE_BUCKETS))

    async def moved(self, position: Position) -> None:
        """Return once the index is past a position."""
        async with self._moved:
            await self._moved.wait_for(lambda: not position.reaches(self.position()))

    def changes(self, position: Position, among: Collection[str]) -> tuple[Sequence[DeviceChange], Position]:
        """See the port. Positions and devices are consistent: nothing is applied in between."""
        step = changes.step(self._db, self._applied, position, among)
        found = {message.id: message for message in self._views.messages([device[0] for device in step.devices])}
        return [
            DeviceChange(found.get(device_id) or pb.Device(id=device_id, revision=deleted), bool(deleted), after)
            for device_id, deleted, after in step.devices
            if deleted or device_id in found
        ], step.position

    async def get(self, device_id: str) -> DeviceView | None:
        """Return the device, or None."""
        found = self._views.messages([device_id])
        return records.view_of(found[0]) if found else None

    async def find(self, query: Query) -> Sequence[pb.Device]:
        """Return devices ordered by id, in their current state."""
        bodies: set[int] | None = None
        for requirement in query.has:
            found = self._catalogue.matching(requirement)
            bodies = set(found) if bodies is None else bodies & found
        messages = await self._search(query, bodies, must_exist=False)
        return messages if messages is not None else await self._search(query, bodies, must_exist=True) or []

    async def _search(self, query: Query, bodies: set[int] | None, *, must_exist: bool) -> Sequence[pb.Device] | None:
        """Return None if an id without a device was found; `must_exist` prevents that rare case at a cost."""
        db, reader = self._db, self._reader
        assert reader is not None  # noqa: S101 - opened with the file
        states = [pb.DeviceState.Value(f"DEVICE_STATE_{state.name}") for state in query.states]
        if search.is_short(query, bodies):
            ids = search.find(db, query, bodies, states, must_exist=must_exist)
        else:
            ids = await asyncio.get_running_loop().run_in_executor(
                self._searching, lambda: search.find(reader, query, bodies, states, must_exist=must_exist)
            )
        messages = self._views.messages(ids)
        return messages if must_exist or len(messages) == len(ids) else None

    async def facts(self, device_ids: Collection[str]) -> Mapping[str, Facts]:
        """Return the facts of those devices that exist."""
        return self._views.facts(device_ids)

    async def online_bridges(self) -> Sequence[str]:
        """Return the bridges with sessions, as far as the index knows."""
        return [row[0] for row in self._db.execute(_BRIDGES)] if self._complete else []

    async def sessions_of(self, bridge_id: str, limit: int) -> Sequence[str]:
        """Return devices that have a session on the bridge, at most `limit`."""
        sql = "SELECT id FROM sessions WHERE bridge = ? LIMIT ?"
        return [row[0] for row in self._db.execute(sql, (bridge_id, limit))]


def _behind(db: sqlite3.Connection, last: Mapping[str, int]) -> float:
    """Return the number of missing records, as a multiple of those already applied."""
    applied = int(db.execute("SELECT sum(applied) FROM streams").fetchone()[0])
    return sum(last.values()) / (applied + BASE_RECORDS) - 1


def _checkpoint(path: Path) -> None:
    db = files.connect(path)
    try:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    finally:
        db.close()
