"""The port Router over NATS: requests on `ygg.v1.bridge.<bridge_id>.{call,stream,disconnect}`, and their responses.

Both ends are bridges; NATS permissions restrict these subjects to them. A stopped bridge has no subscription, so a
request to it fails immediately. An incoming request is processed here and never routed on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.chassis import status
from services.chassis.errors import RemoteError
from services.domain import subjects
from services.domain.errors import Reason, YggError
from services.domain.values import Value
from services.jotunheim_bridge import messages
from services.jotunheim_bridge.errors import CallDeadlineError, DeviceOfflineError
from services.jotunheim_bridge.model.calls import DeviceCall
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

MAX_ROUTED = 1000
"""Routed requests served concurrently, and responses buffered per stream."""
_ROUTE_MARGIN_S = 0.5
_NO_RESPONDERS = "503"
_log = logging.getLogger(__name__)

CallHere = Callable[[DeviceCall, float], Awaitable[dict[str, Value]]]
StreamHere = Callable[[DeviceCall, float], AsyncIterator[dict[str, Value]]]
DisconnectHere = Callable[[str], Awaitable[str]]


class NatsRouter:
    """Sends calls to other bridges and serves theirs."""

    def __init__(self, client: Client, bridge_id: str) -> None:
        self._client, self._bridge_id = client, bridge_id
        self._tasks: set[asyncio.Future[None]] = set()

    async def call(self, bridge_id: str, call: DeviceCall, timeout_s: float) -> dict[str, Value]:
        """Return the results by name; raises the errors of that bridge, DeviceOfflineError if the bridge is gone."""
        request = pb.RoutedRequest(call=messages.request_of(call, timeout_s))
        try:
            message = await self._client.request(
                subjects.bridge(bridge_id, "call"), request.SerializeToString(), timeout=timeout_s + _ROUTE_MARGIN_S
            )
        except nats.errors.NoRespondersError as e:
            raise DeviceOfflineError(call.device_id) from e
        except nats.errors.TimeoutError as e:
            raise CallDeadlineError(call.device_id, call.call_id, call.boot_id, timeout_s) from e
        except nats.errors.Error as e:
            raise RemoteError.of(Reason.STORE_UNAVAILABLE, "NATS does not respond; nothing was sent") from e
        answer = pb.RoutedResponse.FromString(message.data).response
        if answer.WhichOneof("outcome") == "failure":
            raise status.from_failure(answer.failure)
        return messages.results_of(answer, call)

    async def stream(self, bridge_id: str, call: DeviceCall, timeout_s: float) -> AsyncIterator[dict[str, Value]]:
        """Yield the results of each response of a streamed action; raises as `call` does."""
        request = pb.RoutedRequest(call=messages.request_of(call, timeout_s))
        inbox, until = self._client.new_inbox(), asyncio.get_running_loop().time() + timeout_s + _ROUTE_MARGIN_S
        answers = await self._client.subscribe(inbox, pending_msgs_limit=MAX_ROUTED)
        try:
            await self._client.publish(subjects.bridge(bridge_id, "stream"), request.SerializeToString(), reply=inbox)
            while True:
                message = await answers.next_msg(timeout=max(0.001, until - asyncio.get_running_loop().time()))
                if message.headers and message.headers.get("Status") == _NO_RESPONDERS:
                    raise DeviceOfflineError(call.device_id)
                response = pb.RoutedResponse.FromString(message.data)
                if response.response.WhichOneof("outcome") == "failure":
                    raise status.from_failure(response.response.failure)
                if not response.more:
                    return
                yield messages.results_of(response.response, call)
        except nats.errors.TimeoutError as e:
            raise CallDeadlineError(call.device_id, call.call_id, call.boot_id, timeout_s) from e
        finally:
            if self._client.is_connected:
                await answers.unsubscribe()

    async def disconnect(self, bridge_id: str, device_id: str) -> None:
        """End a session there; raises DeviceOfflineError if that bridge is gone, since its sessions end with it."""
        try:
            await self._client.request(subjects.bridge(bridge_id, "disconnect"), device_id.encode(), timeout=5)
        except (nats.errors.Error, TimeoutError) as e:
            raise DeviceOfflineError(device_id) from e

    async def serve(self, call_here: CallHere, stream_here: StreamHere, disconnect_here: DisconnectHere) -> None:
        """Serve requests of other bridges until the connection closes, at most MAX_ROUTED concurrently."""
        slots = asyncio.Semaphore(MAX_ROUTED)

        async def answer_call(message: Msg) -> None:
            request = pb.RoutedRequest.FromString(message.data).call
            call, timeout_s = messages.call_of(request)
            try:
                response = messages.response_of(request.id, call, await call_here(call, timeout_s))
            except YggError as e:
                response = pb.PipelineResponse(id=request.id, failure=status.to_failure(e))
            await message.respond(pb.RoutedResponse(response=response).SerializeToString())

        async def answer_stream(message: Msg) -> None:
            request = pb.RoutedRequest.FromString(message.data).call
            call, timeout_s = messages.call_of(request)
            last = pb.PipelineResponse(id=request.id)
            try:
                async for results in stream_here(call, timeout_s):
                    response = messages.response_of(request.id, call, results)
                    await message.respond(pb.RoutedResponse(response=response, more=True).SerializeToString())
            except YggError as e:
                last.failure.CopyFrom(status.to_failure(e))
            await message.respond(pb.RoutedResponse(response=last).SerializeToString())

        async def answer_disconnect(message: Msg) -> None:
            try:
                await message.respond((await disconnect_here(message.data.decode())).encode())
            except YggError as e:
                await message.respond(e.reason.encode())

        def spawning(work: Callable[[Msg], Awaitable[None]]) -> Callable[[Msg], Awaitable[None]]:
            async def spawn(message: Msg) -> None:
                await slots.acquire()
                task = asyncio.ensure_future(work(message))
                self._tasks.add(task)
                task.add_done_callback(ended)

            return spawn

        def ended(task: asyncio.Future[None]) -> None:
            slots.release()
            self._tasks.discard(task)
            if not task.cancelled() and task.exception() is not None:
                _log.error("routed request failed", exc_info=task.exception())

        served = {"call": answer_call, "stream": answer_stream, "disconnect": answer_disconnect}
        for rpc, answer in served.items():
            await self._client.subscribe(subjects.bridge(self._bridge_id, rpc), cb=spawning(answer))
