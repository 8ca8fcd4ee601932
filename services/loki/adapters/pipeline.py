"""Calls of scripts over one long-lived stream to the bridge: a call costs two messages instead of an RPC.

Owns the stream: opened by the first call, and by the first call after a failure. A call in flight when the stream fails
ends with an unknown outcome.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import grpc
import grpc.aio

from services.chassis import status
from services.chassis.errors import RemoteError
from services.domain.errors import Reason
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb
from yggdrasil.jotunheim.v1 import bridge_pb2_grpc

ANSWER_MARGIN_S = 0.5


class BridgePipeline:
    """BridgeService.Pipeline for many callers at once. The channel belongs to the caller."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = bridge_pb2_grpc.BridgeServiceStub(channel)
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[pb.PipelineResponse]] = {}
        self._writing = asyncio.Lock()
        self._stream: Any = None
        self._reader: asyncio.Task[None] | None = None

    async def call(self, request: pb.PipelineRequest, timeout_s: float) -> pb.PipelineResponse:
        """Return the response; raise RemoteError with the bridge's code, or ABORTED if the stream broke meanwhile."""
        request.id = next(self._numbers)
        request.timeout.FromMicroseconds(int(timeout_s * 1e6))
        waiting: asyncio.Future[pb.PipelineResponse] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = waiting
        try:
            await self._send(request)
            async with asyncio.timeout(timeout_s + ANSWER_MARGIN_S):
                answer = await waiting
        except TimeoutError as e:
            raise RemoteError.of(Reason.CALL_DEADLINE, "the bridge did not respond in time") from e
        finally:
            del self._waiting[request.id]
        if answer.WhichOneof("outcome") == "failure":
            raise status.from_failure(answer.failure)
        return answer

    async def _send(self, request: pb.PipelineRequest) -> None:
        async with self._writing:  # grpc.aio takes one write at a time
            if self._reader is None or self._reader.done():
                self._stream = self._stub.Pipeline()
                self._reader = asyncio.create_task(self._read(self._stream), name="bridge-pipeline")
            try:
                await self._stream.write(request)
            except grpc.aio.AioRpcError as e:
                raise status.from_rpc(e, "the bridge") from e
            except asyncio.InvalidStateError as e:
                raise RemoteError.of(Reason.SERVICE_UNAVAILABLE, "the bridge cannot be reached") from e

    async def _read(self, stream: Any) -> None:
        try:
            async for answer in stream:
                waiting = self._waiting.get(answer.id)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        except grpc.aio.AioRpcError as e:
            self._fail(status.from_rpc(e, "the bridge"))
        else:
            self._fail(None)

    def _fail(self, cause: RemoteError | None) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                lost = RemoteError.of(
                    Reason.OUTCOME_UNKNOWN,
                    "the connection to the bridge was lost during the call, so its outcome is unknown",
                    hint="Read the device's state before you repeat it.",
                )
                lost.__cause__ = cause
                waiting.set_exception(lost)

    async def close(self) -> None:
        """Close the stream."""
        if self._stream is not None:
            self._stream.cancel()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)
