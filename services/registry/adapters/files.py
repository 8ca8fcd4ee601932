"""The index's file: opened if it is complete and of these streams, else created. It can be deleted at any time."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from services.registry.adapters import schema
from services.registry.errors import IndexDiskError

_CACHE_KB = 65_536
"""SQLite's page cache."""
_SORTING_KB = 400_000
"""Page cache while the indexes of a new file are built."""
_CHECKPOINT_PAGES = 4096
"""Pages of the write-ahead log after which the writer itself checkpoints."""


_DISK = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})


@contextlib.contextmanager
def convert_disk_errors(path: Path) -> Iterator[None]:
    """Convert SQLite's errors on writing the file to IndexDiskError."""
    try:
        yield
    except sqlite3.OperationalError as e:
        if e.sqlite_errorcode & 0xFF not in _DISK:  # the low byte is the primary code
            raise
        raise IndexDiskError(path, e) from e
    except OSError as e:
        raise IndexDiskError(path, e.strerror) from e


def open_complete(path: Path, created: Mapping[str, str]) -> sqlite3.Connection | None:
    """Return the file if it was filled completely from these streams (name and creation time), else None."""
    if not path.exists():
        return None
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    with contextlib.suppress(sqlite3.DatabaseError), convert_disk_errors(path):
        _set_up(db)
        current = db.execute("PRAGMA user_version").fetchone()[0] == schema.VERSION
        if current and dict(db.execute("SELECT stream, created FROM streams")) == created:
            db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;")
            return db
    db.close()
    return None


def make(path: Path, created: Mapping[str, str]) -> sqlite3.Connection:
    """Create a file with empty tables for bulk filling, without a journal: an incomplete file is discarded."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm", f"{path.name}-journal"):
        path.with_name(name).unlink(missing_ok=True)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    db = connect(path)
    db.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA threads = 2; {schema.TABLES}")
    db.executemany("INSERT INTO streams VALUES (?, ?, 0)", created.items())
    return db


def finish(db: sqlite3.Connection) -> None:
    """Build the indexes, and only then mark the file as complete.

    A million labels are sorted in memory, in half the time of temporary files; most of the memory is freed afterwards.
    """
    db.execute(f"PRAGMA cache_size = -{_SORTING_KB}")
    db.executescript(f"BEGIN; {schema.INDEXES} COMMIT;")
    _set_up(db)
    db.execute("PRAGMA shrink_memory")
    db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;")
    db.execute(f"PRAGMA user_version = {schema.VERSION}")


@contextlib.contextmanager
def checkpointed(db: sqlite3.Connection) -> Iterator[None]:
    """Checkpoint the write-ahead log in the writer as it grows, while nothing else runs."""
    db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    try:
        yield
    finally:
        db.execute("PRAGMA wal_autocheckpoint = 0")


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection without implicit transactions, for one thread at a time."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    _set_up(db)
    return db


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Return a read-only connection, which never waits for the writer."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
    _set_up(db)
    return db


def _set_up(db: sqlite3.Connection) -> None:
    db.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
