"""The peer: the same fleet in PostgreSQL, one JSONB document per device with a GIN index, tuned and ANALYZEd.

The planner has no statistics of the content of JSONB documents: it expects one device in a hundred to match. Hence a
second peer with the types in a separate array, which has statistics.

Debian's package, in a temporary directory with a unix socket, as a separate user (PostgreSQL refuses to run as root).
Configuration: bench/peers/postgresql.conf.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import asyncpg

from bench.harness import packages
from bench.harness.machine import ROOT
from bench.harness.process import BenchError, Child, until
from bench.registry.fleet import Entry, Stored

_CONFIG = ROOT / "bench" / "peers" / "postgresql.conf"
_USER = "postgres"
_ATTEMPTS = 60
_WAIT_S = 0.5
_TABLE = 'CREATE TABLE devices (id text COLLATE "C" NOT NULL, doc jsonb NOT NULL, types text[] NOT NULL)'
_INDEXES = (
    "ALTER TABLE devices ADD PRIMARY KEY (id)",
    "CREATE INDEX devices_doc ON devices USING gin (doc jsonb_path_ops) WITH (fastupdate = off)",
    "CREATE INDEX devices_types ON devices USING gin (types) WITH (fastupdate = off)",
    "VACUUM (ANALYZE, FREEZE) devices",
)
_STATISTICS = "ALTER TABLE devices ALTER COLUMN types SET STATISTICS 1000"
_FIND = "SELECT doc FROM devices WHERE doc @> $1::jsonb AND id > $2 ORDER BY id LIMIT $3"
_FIND_BY_ARRAY = "SELECT doc FROM devices WHERE types @> ARRAY[$1::text] AND id > $2 ORDER BY id LIMIT $3"


@contextlib.contextmanager
def server() -> Iterator[Path]:
    """Run an empty server; yield the folder of its socket."""
    folder = Path(tempfile.mkdtemp(prefix="ygg-bench-pg-"))
    child: Child | None = None
    try:
        initdb, postgres = packages.postgresql("initdb"), packages.postgresql("postgres")
        if os.geteuid() == 0:
            shutil.chown(folder, _USER)
        data = folder / "data"
        made = [*_as_user(), initdb, "-D", str(data), "-U", "bench", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd=folder)
        settings = ["-c", f"config_file={_CONFIG}", "-c", f"hba_file={data / 'pg_hba.conf'}"]
        settings += ["-c", f"ident_file={data / 'pg_ident.conf'}", "-k", str(folder)]
        child = Child("postgres", [*_as_user(), postgres, "-D", str(data), *settings], folder / "postgres.log")
        until(lambda: (folder / ".s.PGSQL.5432").exists() or None, 30, f"PostgreSQL, see {folder / 'postgres.log'}")
        yield folder
    finally:
        if child is not None:
            child.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _as_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", "--"]


def document(entry: Entry, stored: Stored) -> str:
    """Return the searchable and displayed document of a device, with the fields of our message Device."""
    record, shared = entry.record, stored.contracts[entry.contract]
    capabilities = [{"id": c.id, "type": c.type, "version": c.version} for c in shared.capabilities]
    return json.dumps(
        {
            "id": record.id,
            "state": record.state.value,
            "labels": dict(record.labels),
            "create_time": record.create_time.isoformat(),
            "model": f"board-{entry.contract % 7}",
            "firmware_version": f"1.{entry.contract % 9}.0",
            "online": False,
            "revision": 1,
            "capabilities": capabilities,
        }
    )


class Peer:
    """One connection, from the client's process."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def load(self, entries: Iterable[Entry], stored: Stored) -> None:
        """Load the whole fleet, then create the indexes and statistics."""
        await self._connection.execute(_TABLE)
        await self._connection.execute(_STATISTICS)
        types = [sorted(c.type for c in one.capabilities) for one in stored.contracts]
        rows = ((entry.record.id, document(entry, stored), types[entry.contract]) for entry in entries)
        await self._connection.copy_records_to_table("devices", records=rows)
        for statement in _INDEXES:
            await self._connection.execute(statement, timeout=1800)

    async def find(self, semantic_type: str, after: str, limit: int) -> list[dict[str, Any]]:
        """Return devices with a capability of a type, ordered by id, decoded."""
        pattern = json.dumps({"capabilities": [{"type": semantic_type}]})
        rows = await self._connection.fetch(_FIND, pattern, after, limit)
        return [json.loads(row[0]) for row in rows]

    async def find_by_array(self, semantic_type: str, after: str, limit: int) -> list[dict[str, Any]]:
        """Return the same by the array."""
        rows = await self._connection.fetch(_FIND_BY_ARRAY, semantic_type, after, limit)
        return [json.loads(row[0]) for row in rows]


async def _connect(folder: Path) -> Any:
    """Connect with retries: the server listens before it is ready."""
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(asyncpg.CannotConnectNowError, OSError, TimeoutError):
            return await asyncpg.connect(host=str(folder), user="bench", database="postgres", timeout=10)
        await asyncio.sleep(_WAIT_S)
    raise BenchError(f"PostgreSQL did not become ready, see {folder / 'postgres.log'}")


@contextlib.asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[Peer]:
    """Yield a connection to the server in that folder."""
    connection = await _connect(folder)
    try:
        yield Peer(connection)
    finally:
        await connection.close()
