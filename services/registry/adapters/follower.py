"""Updates the index from the buckets' streams, one task per stream, each from the last applied sequence.

The fast reader first fills a new index or one that is far behind, before anything is served.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from nats.js import JetStreamContext

from services.chassis import records
from services.chassis.bulk import Change, StreamReader
from services.chassis.errors import StoreUnavailableError
from services.chassis.nats import convert_errors
from services.chassis.streams import RETRY_S, Record, follow
from services.chassis.threads import in_thread
from services.registry.adapters import files, rows
from services.registry.adapters.index import DISK_RETRY_S, SqliteIndex
from services.registry.errors import IndexDiskError
from yggdrasil.registry.v1.registry_pb2 import StoredContract

BULK_THRESHOLD = 2000
"""Missing records of a stream from which on the fast reader is used."""
_BODY_WAIT_S = 30.0
"""Maximum wait for a contract's body, in seconds."""
_BODY_STEP_S = 0.01
_log = logging.getLogger(__name__)


class Follower:
    """Follows every indexed bucket until cancelled."""

    def __init__(self, js: JetStreamContext, index: SqliteIndex, reader: StreamReader) -> None:
        self._js, self._index, self._reader = js, index, reader
        self._behind = set(rows.STREAMS)
        self._caught_up = asyncio.Event()

    async def run(self) -> None:
        """Follow the streams; NATS outages are retried, any other error is raised."""
        await self._begin()
        async with asyncio.TaskGroup() as tasks:
            for stream in rows.STREAMS:
                tasks.create_task(self._follow(stream), name=f"follow-{stream}")

    async def caught_up(self) -> None:
        """Return once the index has everything that was in the streams when following began."""
        await self._caught_up.wait()

    async def _begin(self) -> None:
        created, last = await self._streams()
        complete = await self._opened(created, last)
        while not complete or any(
            last[stream] - self._index.applied(stream) > BULK_THRESHOLD for stream in rows.STREAMS
        ):
            try:
                await in_thread(self._read, complete, last)
                return
            except IndexDiskError as e:
                _log.warning("index write failed", extra={"why": e.message})
                await asyncio.sleep(DISK_RETRY_S)
                complete = await self._opened(created, last)  # a bulk fill has no journal, so the file is unusable
            except StoreUnavailableError as e:
                _log.info("stream read failed", extra={"why": e.message})
                await asyncio.sleep(RETRY_S)

    async def _opened(self, created: dict[str, str], last: dict[str, int]) -> bool:
        while True:
            try:
                return self._index.open(created, last)
            except IndexDiskError as e:
                _log.warning("index open failed", extra={"why": e.message})
            await asyncio.sleep(DISK_RETRY_S)

    def _read(self, complete: bool, last: dict[str, int]) -> None:
        with files.convert_disk_errors(self._index.path):
            self._fill(complete, last)

    def _fill(self, complete: bool, last: dict[str, int]) -> None:
        (self._index.catch_up if complete else self._index.load)(self._reader, last)

    async def _streams(self) -> tuple[dict[str, str], dict[str, int]]:
        """Return the creation time and last sequence of each stream; bodies last, so that every contract's body is
        included.
        """
        created, last = {}, {}
        for stream in reversed(rows.STREAMS):
            with convert_errors(f"stream {stream}"):
                info = await self._js.stream_info(stream)
            created[stream], last[stream] = str(info.created), info.state.last_seq
        return created, last

    async def _follow(self, stream: str) -> None:
        prefix = len(f"$KV.{stream.removeprefix('KV_')}.")
        async for batch in follow(self._js, stream, after=self._index.applied(stream)):
            if batch:
                if stream == rows.CONTRACTS.spec.stream:
                    await self._await_bodies(batch)
                changes = [
                    Change(record.subject[prefix:], record.sequence, record.data, record.deleted) for record in batch
                ]
                await self._index.apply(stream, changes)
                continue
            self._behind.discard(stream)
            if not self._behind:
                self._caught_up.set()

    async def _await_bodies(self, batch: Sequence[Record]) -> None:
        """Wait for the bodies of contracts: they are written first, but arrive by another stream."""
        name, parse = rows.CONTRACTS.spec.name, StoredContract.FromString
        found = [records.try_decode(name, record.subject, record.data, parse) for record in batch if not record.deleted]
        digests = {stored.digest for stored in found if stored is not None}
        waited = 0.0
        while any(not self._index.has_body(digest) for digest in digests) and waited < _BODY_WAIT_S:
            await asyncio.sleep(_BODY_STEP_S)
            waited += _BODY_STEP_S
