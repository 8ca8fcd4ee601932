"""RelayService, for bridges: reports of devices, chunks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from services.chassis import status
from services.chassis.rpc import require_service
from services.domain.errors import InvalidRequestError, YggError
from services.ota.api import codec
from services.ota.service.chunks import Chunks
from services.ota.service.relay import Relay
from yggdrasil.ota.v1 import relay_pb2 as pb
from yggdrasil.ota.v1 import relay_pb2_grpc

NAME = pb.DESCRIPTOR.services_by_name["RelayService"].full_name
NONCE_BYTES = 16
MAX_REPORTS = 64


class RelayApi(relay_pb2_grpc.RelayServiceServicer):
    """The servicer."""

    def __init__(self, relay: Relay, chunks: Chunks) -> None:
        self._relay, self._chunks = relay, chunks

    async def Report(self, request: pb.ReportRequest, context: Any) -> pb.ReportResponse:
        """Process a report of a device."""
        require_service("jotunheim_bridge")
        return await self._report(request)

    async def ReportMany(self, request: pb.ReportManyRequest, context: Any) -> pb.ReportManyResponse:
        """Process reports of several devices concurrently."""
        require_service("jotunheim_bridge")
        if not 1 <= len(request.reports) <= MAX_REPORTS:
            raise InvalidRequestError(
                f"{len(request.reports)} reports, 1 to {MAX_REPORTS} are allowed", field="reports"
            )
        return pb.ReportManyResponse(results=await asyncio.gather(*map(self._reported, request.reports)))

    async def _reported(self, report: pb.ReportRequest) -> pb.ReportResult:
        try:
            return pb.ReportResult(response=await self._report(report))
        except YggError as e:
            return pb.ReportResult(failure=status.to_failure(e))

    async def _report(self, request: pb.ReportRequest) -> pb.ReportResponse:
        device, kind = request.device_id, request.WhichOneof("report")
        if kind == "status":
            if len(request.status.nonce) != NONCE_BYTES:
                raise InvalidRequestError(f"the nonce must have {NONCE_BYTES} bytes")
            found = await self._relay.status(
                device, codec.status(request), codec.last_update(request.status), request.status.nonce
            )
        elif kind == "accept":
            taken = request.accept
            found = await self._relay.accept(device, taken.update_id, taken.offset_bytes, delta=taken.delta)
        elif kind == "reject":
            refused = request.reject
            found = await self._relay.reject(device, refused.update_id, codec.reason(refused.code), refused.message)
        elif kind == "progress":
            found = await self._relay.progress(device, request.progress.update_id, request.progress.written_bytes)
        elif kind == "result":
            ended = request.result
            found = await self._relay.result(
                device, ended.update_id, codec.outcome(ended.outcome), codec.reason(ended.code), ended.message
            )
        else:
            raise InvalidRequestError("the report is empty")
        return codec.response(found)

    async def ReadChunks(
        self, request: pb.ReadChunksRequest, context: Any
    ) -> AsyncGenerator[pb.ReadChunksResponse, None]:
        """Stream chunks in order."""
        require_service("jotunheim_bridge")
        found = self._chunks.read(request.sha256.hex(), request.chunk_size_bytes, request.first, request.count)
        async with contextlib.aclosing(found) as chunks:
            async for data, proof in chunks:
                yield pb.ReadChunksResponse(data=data, proof=proof)
