"""A TCP balancer, as people put before several bridges: bytes in, bytes out, to whichever backend takes them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

CHUNK_BYTES = 64 * 1024


class Balancer:
    """Sends each connection to the next backend in turn that accepts it."""

    def __init__(self, backends: list[str]) -> None:
        self._backends, self._next = backends, 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.endpoint = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            backend = await self._open()
            if backend is not None:
                await asyncio.gather(_copy(reader, backend[1]), _copy(backend[0], writer))
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self._backends:
            self._next = (self._next + 1) % len(self._backends)
            host, _, port = self._backends[self._next].rpartition(":")
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(host, int(port))
        return None

    async def close(self) -> None:
        """Cuts every connection."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def balancer(*backends: str) -> AsyncIterator[Balancer]:
    """A balancer on a free port before `backends` (HOST:PORT)."""
    balancing = Balancer(list(backends))
    server = await asyncio.start_server(balancing._serve, "127.0.0.1", 0)
    balancing.endpoint = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield balancing
    finally:
        server.close()
        await balancing.close()
