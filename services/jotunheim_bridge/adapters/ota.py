"""The port Ota over gRPC, and the calls to attend from NATS."""

from __future__ import annotations

import grpc.aio
from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.chassis import status
from services.domain import subjects
from services.jotunheim_bridge.service.bridge import Bridge
from yggdrasil.ota.v1 import relay_pb2 as pb
from yggdrasil.ota.v1 import relay_pb2_grpc, rollout_pb2

REPORT_S, READ_S = 10.0, 30.0


class GrpcOta:
    """Calls with a deadline; raises RemoteError with ota's own code."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: relay_pb2_grpc.RelayServiceAsyncStub = relay_pb2_grpc.RelayServiceStub(channel)

    async def report(self, request: pb.ReportRequest) -> pb.ReportResponse:
        """See the port."""
        try:
            return await self._stub.Report(request, timeout=REPORT_S)
        except grpc.aio.AioRpcError as e:
            raise status.from_rpc(e, "ota") from e

    async def chunks(self, sha256: bytes, chunk_size: int, first: int, count: int) -> list[tuple[bytes, bytes]]:
        """See the port."""
        request = pb.ReadChunksRequest(sha256=sha256, chunk_size_bytes=chunk_size, first=first, count=count)
        try:
            return [(one.data, one.proof) async for one in self._stub.ReadChunks(request, timeout=READ_S)]
        except grpc.aio.AioRpcError as e:
            raise status.from_rpc(e, "ota") from e


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
