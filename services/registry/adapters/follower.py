"""Keeps the index from the buckets' streams, one task a stream, each going on after the last sequence applied."""

from __future__ import annotations

import asyncio

from nats.js import JetStreamContext

from services.chassis.nats import converted
from services.chassis.streams import follow
from services.registry.adapters.index import SqliteIndex
from services.registry.adapters.rows import INDEXED, IndexedBucket


class Follower:
    """Follows every indexed bucket until cancelled."""

    def __init__(self, js: JetStreamContext, index: SqliteIndex) -> None:
        self._js, self._index = js, index
        self._behind = {bucket.spec.name for bucket in INDEXED}
        self._caught_up = asyncio.Event()

    async def run(self) -> None:
        """Follows; fails only by a fault of its own, never because NATS is away."""
        async with asyncio.TaskGroup() as tasks:
            for bucket in INDEXED:
                tasks.create_task(self._follow(bucket), name=f"follow-{bucket.spec.name}")

    async def caught_up(self) -> None:
        """Returns once the index has all that was in the streams when following began."""
        await self._caught_up.wait()

    async def _follow(self, bucket: IndexedBucket) -> None:
        with converted(f"stream {bucket.spec.stream}"):
            created = (await self._js.stream_info(bucket.spec.stream)).created
        after = await self._index.applied(bucket.spec.stream, str(created))
        async for batch in follow(self._js, bucket.spec.stream, after=after):
            if batch:
                await self._index.apply(bucket.spec.stream, batch)
            else:
                self._behind.discard(bucket.spec.name)
                if not self._behind:
                    self._caught_up.set()
