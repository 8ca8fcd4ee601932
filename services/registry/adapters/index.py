"""The read side: an SQLite file beside the replica, kept from the buckets' streams, deletable at any time.

Owns the file and the queries. What is written comes from `follower`. All work on the file runs on one thread of
its own, so that the event loop never waits for the disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from services.chassis.streams import Record
from services.domain.selectors import Operator
from services.registry.adapters import records, schema
from services.registry.adapters.rows import apply, bucket_of
from services.registry.model import CapabilityRef, DeviceView, Presence
from services.registry.ports import Query
from yggdrasil.registry.v1 import registry_pb2 as pb

REACH_TIMEOUT_S = 5.0
_T = TypeVar("_T")
_SELECT = """
SELECT d.record, d.revision, c.record, s.record, c.digest FROM devices d
LEFT JOIN contracts c ON c.device_id = d.id LEFT JOIN sessions s ON s.device_id = d.id
"""


class SqliteIndex:
    """The port Index, and what keeps it."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file; one of another schema version is made anew."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="index")
        self._db = self._thread.submit(_open, path).result()
        self._applied: dict[str, int] = {}
        self._moved = asyncio.Condition()
        self._watchers: set[_Changes] = set()

    async def close(self) -> None:
        """Closes the file and ends every watch."""
        for watcher in tuple(self._watchers):
            watcher.close()
        await self._run(self._db.close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def applied(self, stream: str, created: str) -> int:
        """The last sequence applied of a stream that was made at `created`; 0, and an empty view, for another one."""
        applied = await self._run(lambda: _resume(self._db, stream, created))
        self._applied[stream] = applied
        return applied

    async def apply(self, stream: str, batch: Sequence[Record]) -> None:
        """Applies a batch of a stream in one transaction, then tells who waits or watches."""
        changed = await self._run(lambda: _apply(self._db, stream, batch))
        async with self._moved:
            self._applied[stream] = batch[-1].sequence
            self._moved.notify_all()
        for watcher in self._watchers:
            watcher.add(changed)

    async def reached(self, bucket: str, revision: int) -> None:
        """Waits at most REACH_TIMEOUT_S seconds; then the write stands and only its reading back may lag."""
        stream = f"KV_{bucket}"
        try:
            async with asyncio.timeout(REACH_TIMEOUT_S), self._moved:
                await self._moved.wait_for(lambda: self._applied.get(stream, 0) >= revision)
        except TimeoutError:
            return

    def position(self) -> dict[str, int]:
        """The last sequence applied of each stream."""
        return dict(self._applied)

    async def get(self, device_id: str) -> DeviceView | None:
        """The device, or None."""
        found = await self._run(lambda: _views(self._db, _SELECT + "WHERE d.id = ?", [device_id]))
        return found[0] if found else None

    async def find(self, query: Query) -> Sequence[DeviceView]:
        """Devices ordered by id."""
        where, values = _conditions(query)
        sql = f"{_SELECT} WHERE {' AND '.join(where)} ORDER BY d.id LIMIT ?"
        return await self._run(lambda: _views(self._db, sql, [*values, query.limit]))

    async def online_bridges(self) -> Sequence[str]:
        """The bridges that hold sessions, as far as the index knows."""
        sql = "SELECT DISTINCT bridge_id FROM sessions WHERE online"
        return await self._run(lambda: [row[0] for row in self._db.execute(sql)])

    async def sessions_of(self, bridge_id: str, limit: int) -> Sequence[str]:
        """Devices whose session a bridge holds, at most `limit`."""
        sql = "SELECT device_id FROM sessions WHERE online AND bridge_id = ? LIMIT ?"
        return await self._run(lambda: [row[0] for row in self._db.execute(sql, (bridge_id, limit))])

    def changes(self) -> AsyncIterator[Sequence[str]]:
        """Ids of devices that changed, from this call on."""
        watcher = _Changes(self._watchers)
        self._watchers.add(watcher)
        return watcher


class _Changes(AsyncIterator[Sequence[str]]):
    """One watcher's changed devices, each id once: bounded by the number of devices, however slow the reader."""

    def __init__(self, among: set[_Changes]) -> None:
        self._among, self._pending, self._ready, self._closed = among, dict[str, None](), asyncio.Event(), False

    def add(self, device_ids: Iterable[str]) -> None:
        self._pending.update(dict.fromkeys(device_ids))
        if self._pending:
            self._ready.set()

    def close(self) -> None:
        self._closed = True
        self._among.discard(self)
        self._ready.set()

    async def __anext__(self) -> Sequence[str]:
        try:
            await self._ready.wait()
        except asyncio.CancelledError:
            self.close()
            raise
        if self._closed:
            raise StopAsyncIteration
        self._ready.clear()
        taken, self._pending = tuple(self._pending), {}
        return taken


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
    if db.execute("PRAGMA user_version").fetchone()[0] != schema.VERSION:
        db.executescript(schema.DROP)
    db.executescript(f"{schema.TABLES} PRAGMA user_version = {schema.VERSION};")
    return db


def _resume(db: sqlite3.Connection, stream: str, created: str) -> int:
    row = db.execute("SELECT created, applied FROM streams WHERE stream = ?", (stream,)).fetchone()
    if row and row[0] == created:
        return int(row[1])
    db.execute("BEGIN IMMEDIATE")
    for table in bucket_of(stream).tables:
        db.execute(f"DELETE FROM {table}")  # noqa: S608 - the table names are constants of ours
    db.execute("INSERT OR REPLACE INTO streams VALUES (?, ?, 0)", (stream, created))
    db.execute("COMMIT")
    return 0


def _apply(db: sqlite3.Connection, stream: str, batch: Sequence[Record]) -> list[str]:
    db.execute("BEGIN IMMEDIATE")
    try:
        changed = [device_id for record in batch for device_id in apply(db, stream, record)]
        db.execute("UPDATE streams SET applied = ? WHERE stream = ?", (batch[-1].sequence, stream))
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
    return changed


def _conditions(query: Query) -> tuple[list[str], list[str | int]]:
    where, values = ["d.id > ?"], list[str | int]([query.after])
    for term in query.selector.terms:
        there = "" if term.operator in (Operator.IN, Operator.EXISTS) else "NOT "
        of = f" AND l.value IN ({', '.join('?' * len(term.values))})" if term.values else ""
        where.append(f"{there}EXISTS (SELECT 1 FROM labels l WHERE l.device_id = d.id AND l.key = ?{of})")  # noqa: S608
        values += [term.key, *term.values]
    for wanted in query.has:
        until = "" if wanted.max_version is None else " AND version <= ?"
        where.append(f"c.digest IN (SELECT digest FROM capabilities WHERE type = ? AND version >= ?{until})")  # noqa: S608
        values += [wanted.type, wanted.min_version]
        values += [] if wanted.max_version is None else [wanted.max_version]
    if query.online is not None:
        where.append("COALESCE(s.online, 0) = ?")
        values.append(int(query.online))
    return where, values


def _views(db: sqlite3.Connection, sql: str, values: Sequence[str | int]) -> list[DeviceView]:
    shared: dict[str, tuple[CapabilityRef, ...]] = {}
    views = []
    for record, revision, contract, session, digest in db.execute(sql, values).fetchall():
        if digest and digest not in shared:
            rows = db.execute(
                "SELECT id, type, version FROM capabilities WHERE digest = ? ORDER BY position", (digest,)
            )
            shared[digest] = tuple(CapabilityRef(*row) for row in rows)
        stored = pb.StoredContract.FromString(contract) if contract else pb.StoredContract()
        views.append(
            DeviceView(
                record=records.device_from_bytes(record, revision),
                build=records.build_of(stored),
                presence=records.presence_of(session) if session else Presence(),
                contract_revision=stored.revision,
                capabilities=shared.get(digest, ()),
            )
        )
    return views
