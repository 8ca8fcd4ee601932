"""BridgeService: requests to use cases, and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from services.chassis import codec
from services.domain import ids
from services.domain.errors import InvalidRequestError
from services.jotunheim_bridge.service.calls import DEFAULT_TIMEOUT_S, Calls
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb
from yggdrasil.jotunheim.v1 import bridge_pb2_grpc

NAME = pb.DESCRIPTOR.services_by_name["BridgeService"].full_name
DEFAULT_PAGE, MAX_PAGE = 100, 1000
MAX_WATCHED = 1000
_ANSWER_MARGIN_S = 0.05


def _timeout_s(context: Any) -> float:
    remaining: float | None = context.time_remaining()
    if remaining is None:
        return DEFAULT_TIMEOUT_S
    return max(0.001, remaining - min(_ANSWER_MARGIN_S, remaining / 2))  # leaves time to say what happened


class BridgeApi(bridge_pb2_grpc.BridgeServiceServicer):
    """The servicer. What each RPC does and how it fails stands in bridge.proto."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def Invoke(self, request: pb.InvokeRequest, context: Any) -> pb.InvokeResponse:
        """See bridge.proto."""
        arguments = codec.values_from_proto(request.arguments)
        results, call_id = await self._calls.invoke(
            request.device_id, request.capability, request.action, arguments, request.call_id, _timeout_s(context)
        )
        return pb.InvokeResponse(results=codec.values_to_proto(results), call_id=call_id)

    async def ReadProperty(self, request: pb.ReadPropertyRequest, context: Any) -> pb.ReadPropertyResponse:
        """See bridge.proto."""
        value = await self._calls.read(request.device_id, request.capability, request.property, _timeout_s(context))
        return pb.ReadPropertyResponse(value=codec.value_to_proto(value))

    async def WriteProperty(self, request: pb.WritePropertyRequest, context: Any) -> pb.WritePropertyResponse:
        """See bridge.proto."""
        value = codec.value_from_proto(request.value)
        call_id = await self._calls.write(
            request.device_id, request.capability, request.property, value, request.call_id, _timeout_s(context)
        )
        return pb.WritePropertyResponse(call_id=call_id)

    async def GetSession(self, request: pb.GetSessionRequest, context: Any) -> pb.GetSessionResponse:
        """See bridge.proto."""
        return pb.GetSessionResponse(session=await self._calls.get_session(request.device_id))

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Any) -> pb.ListSessionsResponse:
        """See bridge.proto."""
        if not 0 <= request.page_size <= MAX_PAGE:
            raise InvalidRequestError(f"page_size is {request.page_size}, 0 to {MAX_PAGE} are allowed")
        after = ids.device_id(request.page_token) if request.page_token else ""
        sessions, token = await self._calls.list_sessions(after, request.page_size or DEFAULT_PAGE)
        return pb.ListSessionsResponse(sessions=sessions, next_page_token=token)

    async def WatchEvents(self, request: pb.WatchEventsRequest, context: Any) -> AsyncIterator[pb.WatchEventsResponse]:
        """See bridge.proto."""
        if len(request.device_ids) > MAX_WATCHED:
            raise InvalidRequestError(f"{len(request.device_ids)} devices, at most {MAX_WATCHED} can be watched by id")
        await context.send_initial_metadata(())  # tells the caller that the watch stands
        async for event in self._calls.watch(request.device_ids, request.kinds):
            yield pb.WatchEventsResponse(event=event)

    async def Disconnect(self, request: pb.DisconnectRequest, context: Any) -> pb.DisconnectResponse:
        """See bridge.proto."""
        return pb.DisconnectResponse(session_id=await self._calls.disconnect(request.device_id))
