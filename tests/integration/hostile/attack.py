"""Sends hostile requests and records forbidden answers: INTERNAL and UNKNOWN."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from tests.integration.hostile.generate import Rpc

DEADLINE_S, WATCH_S = 2.0, 0.5
"""Deadlines of a call, and of a watch, which does not end."""
CONCURRENT = 32
OF_THE_CLIENT = "Internal error from Core"
"""The error of grpc.aio itself for a call that ends while it is sending."""
NEVER = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
Metadata = tuple[tuple[str, str | bytes], ...]
METADATA: tuple[Metadata, ...] = (
    (("traceparent", "00-" + "f" * 300),),
    (("traceparent", "x"), ("tracestate", "a=b," * 100)),
    (("x-large", "v" * 6000),),
    (("x-huge", "v" * 60_000),),
    (("grpc-status-details-bin", b"\xff" * 100),),
    tuple((f"x-{number}", "v") for number in range(100)),
    (("grpc-encoding", "none-of-ours"),),
)


@dataclass
class Attack:
    """An attack on one RPC, through one channel."""

    rpc: Rpc
    channel: grpc.aio.Channel
    faults: list[str] = field(default_factory=list)
    sent: int = 0

    async def all(self, requests: Iterable[bytes]) -> None:
        """Send each request in a separate call, several concurrently."""
        slots = asyncio.Semaphore(CONCURRENT)

        async def one(data: bytes) -> None:
            async with slots:
                await self.call([data])

        await asyncio.gather(*(one(data) for data in requests))

    async def odd_calls(self, request: bytes) -> None:
        """Call with odd metadata and deadlines, cancellation, and empty, incomplete or partly invalid streams."""
        for metadata in METADATA:
            await self.call([request], metadata=metadata)
        for deadline_s in (0.0, 0.000_001, 0.001, 1e9):
            await self.call([request], deadline_s=deadline_s, patience_s=0.3)
        for after_s in (0.0, 0.001, 0.02):
            await self.call([request], cancel_after_s=after_s)
        if self.rpc.method.client_streaming:
            await self.call([])
            await self.call([request] * 20)
            await self.call([request, b"\xff\xff", request])
            await self.call([request], half=True, cancel_after_s=0.05)
            await self.call([request], half=True, deadline_s=0.1)

    async def call(
        self,
        requests: list[bytes],
        *,
        metadata: Metadata = (),
        deadline_s: float = DEADLINE_S,
        cancel_after_s: float | None = None,
        patience_s: float | None = None,
        half: bool = False,
    ) -> grpc.StatusCode:
        """Make one call and return its status. `half`: the stream of requests never ends."""
        self.sent += 1
        call = self._begin(requests, metadata, deadline_s, half)
        code = await _ended(call, cancel_after_s if cancel_after_s is not None else patience_s)
        if code in NEVER and await call.details() != OF_THE_CLIENT:
            shown = [data[:60] for data in requests[:3]]
            self.faults.append(f"{self.rpc.path} {shown} {metadata}: {code.name} {str(await call.details())[:200]}")
        return code

    def _begin(self, requests: list[bytes], metadata: Metadata, deadline_s: float, half: bool) -> Any:
        method = self.rpc.method
        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        made = getattr(self.channel, kind)(self.rpc.path)
        if method.server_streaming and deadline_s == DEADLINE_S:
            deadline_s = WATCH_S
        what = _stream(requests, half) if method.client_streaming else requests[0]
        return made(what, timeout=deadline_s, metadata=metadata)


async def _stream(requests: list[bytes], half: bool) -> AsyncIterator[bytes]:
    for data in requests:
        yield data
    if half:
        await asyncio.Event().wait()


async def _ended(call: Any, cancel_after_s: float | None) -> grpc.StatusCode:
    """Return the status of a call; read and drop the answers of a stream."""

    async def finish() -> None:
        if hasattr(call, "read"):
            async for _ in call:
                pass
        else:
            await call

    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError, TimeoutError):
        async with asyncio.timeout(cancel_after_s):
            await finish()
    call.cancel()
    code: grpc.StatusCode = await call.code()
    return code
