"""Counts events in the stream: acknowledged events are counted as stored."""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import TracebackType

from bench.harness.mesh import Mesh
from bench.harness.process import BenchError
from services.chassis import nats
from services.domain.subjects import EVENT_STREAM


class EventStream:
    """Reads the state of the stream with the registry's permissions; use with `async with`."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh, self._stack = mesh, contextlib.AsyncExitStack()

    async def __aenter__(self) -> EventStream:
        files = self._mesh.pki.files("service", "registry")
        connection = await self._stack.enter_async_context(nats.connect(self._mesh.nats_url, files, "registry"))
        self._js = nats.jetstream(connection.client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def messages(self) -> int:
        """Return the last sequence of the stream: the number of messages ever stored."""
        return int((await self._js.stream_info(EVENT_STREAM)).state.last_seq)

    async def settled(self, quiet_s: float = 1.0, within_s: float = 60.0) -> int:
        """Return the same once nothing was stored for `quiet_s` seconds."""
        deadline, last = time.monotonic() + within_s, await self.messages()
        since = time.monotonic()
        while time.monotonic() - since < quiet_s:
            if time.monotonic() > deadline:
                raise BenchError("the event stream does not settle")
            await asyncio.sleep(0.05)
            now = await self.messages()
            if now != last:
                last, since = now, time.monotonic()
        return last
