"""The port Ota over gRPC, and the calls to attend from NATS.

Reports of many devices travel together: a call of gRPC costs more than what it carries. Whatever comes while CALLS are
under way waits for one of them, so a lone report goes out at once and a thousand go in a few calls.
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
from services.domain.errors import Code, YggError
from services.jotunheim_bridge.service.bridge import Bridge
from yggdrasil.ota.v1 import relay_pb2 as pb
from yggdrasil.ota.v1 import relay_pb2_grpc, rollout_pb2

REPORT_S, READ_S = 10.0, 30.0
CALLS = 2
REPORTS_A_CALL = 64
Answer = asyncio.Future[pb.ReportResponse]


class GrpcOta:
    """Calls with a deadline; raises RemoteError with ota's own code."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: relay_pb2_grpc.RelayServiceAsyncStub = relay_pb2_grpc.RelayServiceStub(channel)
        self._waiting: deque[tuple[pb.ReportRequest, Answer]] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._working = 0

    async def report(self, request: pb.ReportRequest) -> pb.ReportResponse:
        """See the port."""
        loop = asyncio.get_running_loop()
        answer: Answer = loop.create_future()
        self._waiting.append((request, answer))
        if self._working < CALLS:
            self._working += 1
            call = loop.create_task(self._call())
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        return await answer

    async def _call(self) -> None:
        """One call after another until nothing waits."""
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(REPORTS_A_CALL, len(self._waiting)))]
                wanted = [(request, answer) for request, answer in batch if not answer.done()]
                if wanted:
                    await self._ask(wanted)
        finally:
            self._working -= 1

    async def _ask(self, batch: list[tuple[pb.ReportRequest, Answer]]) -> None:
        request = pb.ReportManyRequest(reports=[report for report, _ in batch])
        found: list[pb.ReportResponse | YggError] = []
        try:
            response = await self._stub.ReportMany(request, timeout=REPORT_S)
            found = [_outcome(one) for one in response.reported]
        except grpc.aio.AioRpcError as e:
            found = [status.from_rpc(e, "ota") for _ in batch]
        finally:
            for (_, answer), outcome in itertools.zip_longest(batch, found[: len(batch)]):
                _settle(answer, outcome)

    async def chunks(self, sha256: bytes, chunk_size: int, first: int, count: int) -> list[tuple[bytes, bytes]]:
        """See the port."""
        request = pb.ReadChunksRequest(sha256=sha256, chunk_size_bytes=chunk_size, first=first, count=count)
        try:
            return [(one.data, one.proof) async for one in self._stub.ReadChunks(request, timeout=READ_S)]
        except grpc.aio.AioRpcError as e:
            raise status.from_rpc(e, "ota") from e


def _settle(answer: Answer, outcome: pb.ReportResponse | YggError | None) -> None:
    if answer.done():
        return  # its session is gone
    if isinstance(outcome, YggError):
        answer.set_exception(outcome)
    elif outcome is not None:
        answer.set_result(outcome)
    else:
        answer.set_exception(RemoteError(Code.INTERNAL, "NO_ANSWER", "ota left a report without an answer"))


def _outcome(one: pb.Reported) -> pb.ReportResponse | YggError:
    return status.from_failure(one.failure) if one.WhichOneof("outcome") == "failure" else one.answer


async def listen(client: Client, bridge: Bridge) -> None:
    """Heeds ota's calls to attend to a device, from now on; one that is lost is said again."""

    async def take(message: Msg) -> None:
        try:
            device_id = rollout_pb2.RolloutEvent.FromString(message.data).device_id
        except DecodeError:
            return
        session = bridge.session(device_id)
        if session is not None:
            bridge.updates.attend(session)

    await client.subscribe(subjects.ota_filter("attend"), cb=take)
