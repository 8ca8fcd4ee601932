"""Logs of registered scripts' runs: published to all replicas over NATS; each keeps the last lines and serves watches.

At most once: a line that NATS does not take at once is dropped, a run never waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable

import nats.errors
from google.protobuf.message import DecodeError
from nats.aio.client import Client

from services.domain import subjects
from services.loki.messages import log_to_proto
from services.loki.model import LogEntry
from yggdrasil.loki.v1 import script_pb2 as pb

KIND = "script_log"
KEPT, QUEUED = 500, 2000
_log = logging.getLogger(__name__)


class ScriptLogs:
    """One replica's view of all logs. `run` must be running."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._queue: asyncio.Queue[pb.WatchScriptLogsResponse] = asyncio.Queue(QUEUED)
        self._kept: deque[pb.WatchScriptLogsResponse] = deque(maxlen=KEPT)
        self._watchers: set[asyncio.Queue[pb.WatchScriptLogsResponse]] = set()

    def publish(self, name: str, run_id: str, device_id: str, entry: LogEntry) -> None:
        """Send a line to the watchers."""
        line = pb.WatchScriptLogsResponse(name=name, run_id=run_id, device_id=device_id, log=log_to_proto(entry))
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait(line)

    async def run(self) -> None:
        """Publish and receive lines until cancelled."""
        everybody = f"ygg.v1.{subjects.TENANT}.loki.*.{KIND}"
        subscription = await self._client.subscribe(everybody, cb=self._heard)
        try:
            while True:
                line = await self._queue.get()
                try:
                    await self._client.publish(subjects.loki(line.name, KIND), line.SerializeToString())
                except (nats.errors.Error, ConnectionError) as e:
                    _log.debug("a line of a log was dropped", extra={"script": line.name, "why": str(e)})
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def _heard(self, message: object) -> None:
        try:
            line = pb.WatchScriptLogsResponse.FromString(getattr(message, "data", b""))
        except DecodeError:
            return
        self._kept.append(line)
        for watcher in self._watchers:
            with contextlib.suppress(asyncio.QueueFull):  # a slow watcher misses lines
                watcher.put_nowait(line)

    def has(self, matches: Callable[[str], bool]) -> bool:
        """Return whether lines of a matching script are kept; the script may be deleted."""
        return any(matches(line.name) for line in self._kept)

    async def watch(
        self, matches: Callable[[str], bool], last: int, *, stored_only: bool
    ) -> AsyncIterator[pb.WatchScriptLogsResponse]:
        """Yield the last lines, then, unless `stored_only`, new lines."""
        mine: asyncio.Queue[pb.WatchScriptLogsResponse] = asyncio.Queue(QUEUED)
        self._watchers.add(mine)
        try:
            before = [line for line in self._kept if matches(line.name)]
            for line in before[len(before) - min(last, len(before)) :]:
                yield line
            while not stored_only:
                line = await mine.get()
                if matches(line.name):
                    yield line
        finally:
            self._watchers.discard(mine)
