"""BridgeService: converts requests to use cases and results to responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from services.chassis import codec, status
from services.domain import ids
from services.domain.errors import InvalidRequestError, YggError, in_field
from services.domain.requirements import parse_requirement
from services.domain.selectors import parse_selector
from services.jotunheim_bridge import messages
from services.jotunheim_bridge.model.calls import DeviceCall, Operation
from services.jotunheim_bridge.ports import Targets
from services.jotunheim_bridge.service.calls import Calls, Outcome
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb
from yggdrasil.jotunheim.v1 import bridge_pb2_grpc

NAME = pb.DESCRIPTOR.services_by_name["BridgeService"].full_name
DEFAULT_PAGE = 100
MAX_PAGE = 1000
MAX_NAMED = 1000
DEFAULT_CONCURRENCY = 32
MAX_CONCURRENCY = 256
MAX_PIPELINED = 256
WATCH_SEQUENCE = "ygg-watch-sequence"
_RESPONSE_MARGIN_S = 0.05


def _timeout_s(context: Any) -> float:
    remaining: float | None = context.time_remaining()
    if remaining is None:
        return messages.DEFAULT_TIMEOUT_S
    return max(0.001, remaining - min(_RESPONSE_MARGIN_S, remaining / 2))  # leaves time for the error response


class BridgeApi(bridge_pb2_grpc.BridgeServiceServicer):
    """The servicer. bridge.proto documents each RPC and its errors."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def Invoke(self, request: pb.InvokeRequest, context: Any) -> pb.InvokeResponse:
        """See bridge.proto."""
        results, call_id = await self._calls.call(messages.invoke_call(request), _timeout_s(context))
        return pb.InvokeResponse(results=codec.values_to_proto(results), call_id=call_id)

    async def InvokeStream(
        self, request: pb.InvokeStreamRequest, context: Any
    ) -> AsyncIterator[pb.InvokeStreamResponse]:
        """See bridge.proto."""
        async for results, call_id in self._calls.stream(messages.invoke_call(request.call), _timeout_s(context)):
            answer = pb.InvokeResponse(results=codec.values_to_proto(results), call_id=call_id)
            yield pb.InvokeStreamResponse(response=answer)

    async def InvokeMany(self, request: pb.InvokeManyRequest, context: Any) -> AsyncIterator[pb.InvokeManyResponse]:
        """See bridge.proto."""
        targets, concurrency = _targets(request), request.concurrency or DEFAULT_CONCURRENCY
        if concurrency > MAX_CONCURRENCY:
            raise InvalidRequestError(
                f"concurrency is {concurrency}, at most {MAX_CONCURRENCY} is allowed", field="concurrency"
            )
        arguments = codec.values_from_proto(request.arguments)
        template = DeviceCall("", Operation.ACTION, request.capability, request.action, arguments)
        timeout_s = messages.seconds(request.timeout) if request.HasField("timeout") else messages.DEFAULT_TIMEOUT_S
        async for outcome in self._calls.call_many(targets, template, concurrency, timeout_s):
            yield _many(outcome)

    async def Pipeline(
        self, request_iterator: AsyncIterator[pb.PipelineRequest], context: Any
    ) -> AsyncIterator[pb.PipelineResponse]:
        """See bridge.proto."""
        answers: asyncio.Queue[pb.PipelineResponse | None] = asyncio.Queue(MAX_PIPELINED)
        slots = asyncio.Semaphore(MAX_PIPELINED)

        async def one(request: pb.PipelineRequest) -> None:
            try:
                await answers.put(await self._pipelined(request))
            finally:
                slots.release()

        refused: list[YggError] = []

        async def run_all() -> None:
            async with asyncio.TaskGroup() as tasks:
                try:
                    async for request in request_iterator:
                        await slots.acquire()
                        tasks.create_task(one(request))
                except YggError as e:  # malformed or too large; earlier calls are still answered
                    refused.append(e)
            await answers.put(None)

        running = asyncio.create_task(run_all())
        try:
            while (answer := await answers.get()) is not None:
                yield answer
            if refused:
                raise refused[0]
        finally:
            running.cancel()

    async def _pipelined(self, request: pb.PipelineRequest) -> pb.PipelineResponse:
        try:
            call, timeout_s = messages.call_of(request)
            results, call_id = await self._calls.call(call, timeout_s)
        except YggError as e:
            return pb.PipelineResponse(id=request.id, failure=status.to_failure(e))
        return messages.response_of(request.id, call.checked(call_id), results)

    async def ReadProperty(self, request: pb.ReadPropertyRequest, context: Any) -> pb.ReadPropertyResponse:
        """See bridge.proto."""
        results, _ = await self._calls.call(messages.read_call(request), _timeout_s(context))
        return pb.ReadPropertyResponse(value=codec.value_to_proto(results.get(request.property)))

    async def WriteProperty(self, request: pb.WritePropertyRequest, context: Any) -> pb.WritePropertyResponse:
        """See bridge.proto."""
        _, call_id = await self._calls.call(messages.write_call(request), _timeout_s(context))
        return pb.WritePropertyResponse(call_id=call_id)

    async def GetSession(self, request: pb.GetSessionRequest, context: Any) -> pb.GetSessionResponse:
        """See bridge.proto."""
        return pb.GetSessionResponse(session=await self._calls.get_session(request.device_id))

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Any) -> pb.ListSessionsResponse:
        """See bridge.proto."""
        if not 0 <= request.page_size <= MAX_PAGE:
            raise InvalidRequestError(
                f"page_size is {request.page_size}, 0 to {MAX_PAGE} are allowed", field="page_size"
            )
        after = ids.device_id(request.page_token, "page_token") if request.page_token else ""
        sessions, token = await self._calls.list_sessions(after, request.page_size or DEFAULT_PAGE)
        return pb.ListSessionsResponse(sessions=sessions, next_page_token=token)

    async def WatchEvents(self, request: pb.WatchEventsRequest, context: Any) -> AsyncIterator[pb.WatchEventsResponse]:
        """See bridge.proto."""
        if len(request.device_ids) > MAX_NAMED:
            raise InvalidRequestError(
                f"{len(request.device_ids)} device ids given, at most {MAX_NAMED} are allowed", field="device_ids"
            )
        after = request.after_sequence if request.HasField("after_sequence") else None
        watch = await self._calls.watch(request.device_ids, request.kinds, after)
        # Confirms the watch, and gives the sequence to resume from before the first event.
        await context.send_initial_metadata(((WATCH_SEQUENCE, str(watch.after)),))
        async for sequence, event in watch.events:
            yield pb.WatchEventsResponse(event=event, sequence=sequence)

    async def Disconnect(self, request: pb.DisconnectRequest, context: Any) -> pb.DisconnectResponse:
        """See bridge.proto."""
        return pb.DisconnectResponse(session_id=await self._calls.disconnect(request.device_id))


def _targets(request: pb.InvokeManyRequest) -> Targets:
    if len(request.device_ids) > MAX_NAMED:
        raise InvalidRequestError(
            f"{len(request.device_ids)} device ids given, at most {MAX_NAMED} are allowed", field="device_ids"
        )
    if not request.device_ids and not request.selector:
        raise InvalidRequestError(
            "no devices given", hint='Name devices, or pass a selector; "*" selects all.', field="device_ids"
        )
    parse_selector(request.selector)
    with in_field("has"):
        for text in request.has:
            parse_requirement(text)
    return Targets(tuple(request.device_ids), request.selector, tuple(request.has))


def _many(outcome: Outcome) -> pb.InvokeManyResponse:
    if outcome.error is not None:
        return pb.InvokeManyResponse(device_id=outcome.device_id, failure=status.to_failure(outcome.error))
    answer = pb.InvokeResponse(results=codec.values_to_proto(outcome.results), call_id=outcome.call_id)
    return pb.InvokeManyResponse(device_id=outcome.device_id, response=answer)
