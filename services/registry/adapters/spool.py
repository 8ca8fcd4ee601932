"""A temporary file that orders a bucket's records, each key once, in bounded memory.

Owns the file, which is unlinked as soon as it is open, so that nothing remains of it.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

from services.chassis.threads import in_thread

_PAGE = 500
"""Records read in one statement."""
_TABLE = "CREATE TABLE kept (key TEXT, revision INT, data BLOB, PRIMARY KEY (key, revision)) WITHOUT ROWID"


class Spool:
    """Records by key and revision. A record replaces those of its key with the same or a later revision."""

    def __init__(self, folder: Path) -> None:
        path = folder / f"spool-{secrets.token_hex(8)}.sqlite"
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute(_TABLE)
        path.unlink()

    def close(self) -> None:
        """Close the file, which deletes it."""
        self._db.close()

    async def put(self, records: Iterable[tuple[str, int, bytes | None]]) -> None:
        """Add records (key, revision, data) in order; None removes the key."""
        await in_thread(self._put, list(records))

    async def count(self) -> int:
        """Return the number of records."""
        return int(await in_thread(lambda: self._db.execute("SELECT count(*) FROM kept").fetchone()[0]))

    async def rows(self) -> AsyncGenerator[tuple[str, int, bytes], None]:
        """Yield every record, ordered by key and revision."""
        after: tuple[str, int] = ("", -1)
        while page := await in_thread(self._page, *after):
            for row in page:
                yield row
            after = page[-1][:2]

    def _put(self, records: list[tuple[str, int, bytes | None]]) -> None:
        self._db.execute("BEGIN")
        for key, revision, data in records:
            least = revision if data is not None else -1
            self._db.execute("DELETE FROM kept WHERE key = ? AND revision >= ?", (key, least))
            if data is not None:
                self._db.execute("INSERT INTO kept VALUES (?, ?, ?)", (key, revision, data))
        self._db.execute("COMMIT")

    def _page(self, key: str, revision: int) -> list[tuple[str, int, bytes]]:
        sql = "SELECT key, revision, data FROM kept WHERE (key, revision) > (?, ?) ORDER BY key, revision LIMIT ?"
        return self._db.execute(sql, (key, revision, _PAGE)).fetchall()
