"""The port Ota over gRPC, and the wake-up messages of ota on NATS.

Reports of many devices share a call, since a gRPC call costs more than its payload. While MAX_CONCURRENT_CALLS are in
flight, further reports queue for the next one: a single report is sent immediately, a thousand take a few calls.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque

import grpc.aio
from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.chassis import status
from services.chassis.errors import RemoteError
from services.domain import subjects
from services.domain.errors import Reason, YggError
from services.jotunheim_bridge.service.bridge import Bridge
from yggdrasil.ota.v1 import relay_pb2 as pb
from yggdrasil.ota.v1 import relay_pb2_grpc, rollout_pb2

REPORT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
MAX_CONCURRENT_CALLS = 2
MAX_REPORTS_PER_CALL = 64
"""The limit of ReportMany."""
PendingResponse = asyncio.Future[pb.ReportResponse]


class GrpcOta:
    """Calls with a deadline; raises RemoteError with ota's own code."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: relay_pb2_grpc.RelayServiceAsyncStub = relay_pb2_grpc.RelayServiceStub(channel)
        self._waiting: deque[tuple[pb.ReportRequest, PendingResponse]] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._active_calls = 0

    async def report(self, request: pb.ReportRequest) -> pb.ReportResponse:
        """See the port."""
        loop = asyncio.get_running_loop()
        answer: PendingResponse = loop.create_future()
        self._waiting.append((request, answer))
        if self._active_calls < MAX_CONCURRENT_CALLS:
            self._active_calls += 1
            call = loop.create_task(self._call())
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        return await answer

    async def _call(self) -> None:
        """Send batches until the queue is empty."""
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(MAX_REPORTS_PER_CALL, len(self._waiting)))]
                pending = [(request, answer) for request, answer in batch if not answer.done()]
                if pending:
                    await self._report_many(pending)
        finally:
            self._active_calls -= 1

    async def _report_many(self, batch: list[tuple[pb.ReportRequest, PendingResponse]]) -> None:
        request = pb.ReportManyRequest(reports=[report for report, _ in batch])
        found: list[pb.ReportResponse | YggError] = []
        try:
            response = await self._stub.ReportMany(request, timeout=REPORT_TIMEOUT_S)
            found = [_outcome(one) for one in response.results]
        except grpc.aio.AioRpcError as e:
            found = [status.from_rpc(e, "ota") for _ in batch]
        finally:
            for (_, answer), outcome in itertools.zip_longest(batch, found[: len(batch)]):
                _settle(answer, outcome)

    async def chunks(self, sha256: bytes, chunk_size: int, first: int, count: int) -> list[tuple[bytes, bytes]]:
        """See the port."""
        request = pb.ReadChunksRequest(sha256=sha256, chunk_size_bytes=chunk_size, first=first, count=count)
        try:
            return [(one.data, one.proof) async for one in self._stub.ReadChunks(request, timeout=READ_TIMEOUT_S)]
        except grpc.aio.AioRpcError as e:
            raise status.from_rpc(e, "ota") from e


def _settle(answer: PendingResponse, outcome: pb.ReportResponse | YggError | None) -> None:
    if answer.done():
        return  # the session has ended
    if isinstance(outcome, YggError):
        answer.set_exception(outcome)
    elif outcome is not None:
        answer.set_result(outcome)
    else:
        answer.set_exception(RemoteError.of(Reason.NO_ANSWER, "ota returned no response to a report"))


def _outcome(one: pb.ReportResult) -> pb.ReportResponse | YggError:
    return status.from_failure(one.failure) if one.WhichOneof("outcome") == "failure" else one.response


async def listen(client: Client, bridge: Bridge) -> None:
    """Subscribe to ota's wake-up messages; ota repeats a lost one."""

    async def wake(message: Msg) -> None:
        try:
            device_id = rollout_pb2.RolloutEvent.FromString(message.data).device_id
        except DecodeError:
            return
        session = bridge.session(device_id)
        if session is not None:
            bridge.updates.wake(session)

    await client.subscribe(subjects.ota_filter("attend"), cb=wake)
