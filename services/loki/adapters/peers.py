"""Replicas talk: requests to the one that runs an instance, and lines of logs for all. Over NATS, ours alone.

A request goes to `ygg.v1.main.loki.rpc.<replica>`, a line to `ygg.v1.main.loki.<deployment>.log`; both are for this
service only, by the permissions of NATS.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.chassis import status
from services.chassis.errors import StoreUnavailableError
from services.chassis.nats import flush_all
from services.domain import subjects
from services.domain.errors import YggError
from services.loki.messages import log_to_proto
from services.loki.model import LogEntry
from services.loki.programs.placement import Ref
from yggdrasil.common.v1 import failure_pb2
from yggdrasil.loki.v1 import program_pb2 as pb

MAX_PENDING_LINES = 10_000
_log = logging.getLogger(__name__)
_PREFIX = f"ygg.v1.{subjects.TENANT}.loki"
Serve = Callable[[str, Ref, bytes], Awaitable[bytes]]


class NatsPeers:
    """Implements the port Peers. `run` must run for lines to go out."""

    def __init__(self, client: Client, replica: str) -> None:
        self._client, self._replica = client, replica
        self._lines: asyncio.Queue[tuple[Ref, LogEntry]] = asyncio.Queue(MAX_PENDING_LINES)
        self._serving: set[asyncio.Task[None]] = set()

    async def serve(self, answer: Serve) -> None:
        """Answer requests of other replicas from now on."""

        async def take(message: Msg) -> None:
            task = asyncio.create_task(self._answer(message, answer))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

        await self._client.subscribe(f"{_PREFIX}.rpc.{self._replica}", cb=take)

    async def _answer(self, message: Msg, answer: Serve) -> None:
        headers = message.headers or {}
        try:
            body = b"\0" + await answer(headers.get("method", ""), Ref.of_key(headers.get("ref", "")), message.data)
        except YggError as e:
            body = b"\1" + status.to_failure(e).SerializeToString()
        with contextlib.suppress(nats.errors.Error):
            await message.respond(body)

    async def ask(self, replica: str, method: str, ref: Ref, body: bytes, timeout_s: float) -> bytes:
        """Return the answer of a replica; raise RemoteError with its own code and reason, or StoreUnavailableError."""
        headers = {"method": method, "ref": ref.key}
        try:
            answer = await self._client.request(f"{_PREFIX}.rpc.{replica}", body, timeout=timeout_s, headers=headers)
        except (nats.errors.Error, TimeoutError) as e:
            raise StoreUnavailableError(f"the replica {replica} does not answer", hint="Try again in a moment.") from e
        if answer.data[:1] == b"\1":
            raise status.from_failure(failure_pb2.Failure.FromString(answer.data[1:]))
        return answer.data[1:]

    def tell_line(self, ref: Ref, entry: LogEntry) -> None:
        """Queue a line for `run`; drop it if the queue is full."""
        with contextlib.suppress(asyncio.QueueFull):
            self._lines.put_nowait((ref, entry))

    async def run(self) -> None:
        """Publish lines until cancelled."""
        while True:
            ref, entry = await self._lines.get()
            line = pb.WatchLogsResponse(entry=log_to_proto(entry), deployment_id=ref.deployment, device_id=ref.device)
            try:
                await self._client.publish(subjects.loki(ref.deployment, "log"), line.SerializeToString())
            except (nats.errors.Error, ConnectionError) as e:
                _log.debug("line not published", extra={"why": str(e)})

    async def lines(self, deployment_id: str) -> asyncio.Queue[pb.WatchLogsResponse]:
        """Return a queue of new lines of a deployment until `stop_lines`."""
        queue: asyncio.Queue[pb.WatchLogsResponse] = asyncio.Queue(4096)

        async def take(message: Msg) -> None:
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(pb.WatchLogsResponse.FromString(message.data))

        subscription = await self._client.subscribe(subjects.loki(deployment_id, "log"), cb=take)
        await flush_all(self._client)
        queue.subscription = subscription  # type: ignore[attr-defined]
        return queue

    async def stop_lines(self, queue: asyncio.Queue[pb.WatchLogsResponse]) -> None:
        """Stop the lines of a queue."""
        if self._client.is_connected:
            await queue.subscription.unsubscribe()  # type: ignore[attr-defined]
