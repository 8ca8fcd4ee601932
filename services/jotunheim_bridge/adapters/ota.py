"""The port Ota over gRPC with a cache of chunks that all devices share, and the calls to attend from NATS.

A thousand devices that take one image read each chunk from ota once, as long as they are not further apart than the
cache is large.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import grpc.aio
from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.chassis import status
from services.chassis.errors import RemoteError
from services.domain import subjects
from services.domain.errors import Code
from services.jotunheim_bridge.service.bridge import Bridge
from services.jotunheim_bridge.service.ota import BATCH
from yggdrasil.ota.v1 import relay_pb2 as pb
from yggdrasil.ota.v1 import relay_pb2_grpc, rollout_pb2

REPORT_S, READ_S = 10.0, 30.0
CACHE_BYTES = 16 * 1024 * 1024
Key = tuple[bytes, int, int]
Batch = list[tuple[bytes, bytes]]


class GrpcOta:
    """Calls with a deadline; raises RemoteError with ota's own code."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: relay_pb2_grpc.RelayServiceAsyncStub = relay_pb2_grpc.RelayServiceStub(channel)
        self._batches: OrderedDict[Key, asyncio.Task[Batch]] = OrderedDict()
        self._held = 0

    async def report(self, request: pb.ReportRequest) -> pb.ReportResponse:
        """See the port."""
        try:
            return await self._stub.Report(request, timeout=REPORT_S)
        except grpc.aio.AioRpcError as e:
            raise status.from_rpc(e, "ota") from e

    async def chunk(self, sha256: bytes, chunk_size: int, index: int) -> tuple[bytes, bytes]:
        """See the port."""
        key = (sha256, chunk_size, index // BATCH)
        task = self._batches.get(key)
        if task is None:
            task = self._batches[key] = asyncio.create_task(self._read(key))
            task.add_done_callback(lambda done: self._came(key, done))
        else:
            self._batches.move_to_end(key)
        batch = await asyncio.shield(task)
        if index % BATCH >= len(batch):
            raise RemoteError(Code.OUT_OF_RANGE, "NO_SUCH_CHUNK", f"there is no chunk {index}")
        return batch[index % BATCH]

    def _came(self, key: Key, task: asyncio.Task[Batch]) -> None:
        if task.cancelled() or task.exception():
            if self._batches.get(key) is task:
                del self._batches[key]  # the next who asks tries again
            return
        self._held += _size(task)
        while self._held > CACHE_BYTES:
            oldest = next((k for k, t in self._batches.items() if t.done() and k != key), None)
            if oldest is None:
                return
            self._held -= _size(self._batches.pop(oldest))

    async def _read(self, key: Key) -> Batch:
        sha256, chunk_size, number = key
        request = pb.ReadChunksRequest(sha256=sha256, chunk_size_bytes=chunk_size, first=number * BATCH, count=BATCH)
        try:
            return [(one.data, one.proof) async for one in self._stub.ReadChunks(request, timeout=READ_S)]
        except grpc.aio.AioRpcError as e:
            raise status.from_rpc(e, "ota") from e


def _size(task: asyncio.Task[Batch]) -> int:
    return sum(len(data) + len(proof) for data, proof in task.result())


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
