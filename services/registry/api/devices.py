"""The RPCs of RegistryService about devices. Bounds of the fields are checked here and in the domain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from services.chassis import codec
from services.domain import ids
from services.domain.errors import InvalidIdError, InvalidRequestError
from services.domain.requirements import parse_requirement
from services.domain.selectors import parse_selector
from services.registry.errors import PageTokenError
from services.registry.model import DeviceState, DeviceView
from services.registry.ports import Query
from services.registry.service.devices import Devices
from yggdrasil.registry.v1 import registry_pb2 as pb
from yggdrasil.registry.v1 import registry_pb2_grpc

DEFAULT_PAGE, MAX_PAGE = 100, 1000
MAX_REQUIREMENTS = 16


def view_to_proto(view: DeviceView) -> pb.Device:
    """The message Device."""
    record, presence, build = view.record, view.presence, view.build
    return pb.Device(
        id=record.id,
        state=pb.DeviceState.Value(f"DEVICE_STATE_{record.state.name}"),
        labels=record.labels,
        model=build.model,
        device_class=build.device_class,
        firmware_version=build.firmware_version,
        slot=build.slot,
        presence=pb.Presence(
            online=presence.online,
            since=codec.timestamp(presence.since),
            session_id=presence.session_id,
            bridge_id=presence.bridge_id,
            negotiation_ms=presence.negotiation_ms,
        ),
        contract_revision=view.contract_revision,
        capabilities=[pb.CapabilityRef(id=c.id, type=c.type, version=c.version) for c in view.capabilities],
        revision=record.revision,
        create_time=codec.timestamp(record.create_time),
        revoke_time=codec.timestamp(record.revoke_time),
    )


def _state(number: int) -> DeviceState | None:
    if number == pb.DEVICE_STATE_UNSPECIFIED:
        return None
    if number not in pb.DeviceState.values():
        raise InvalidRequestError(f"state {number} is none that this version knows")
    return DeviceState[pb.DeviceState.Name(pb.DeviceState.ValueType(number)).removeprefix("DEVICE_STATE_")]


def query_of(request: pb.ListDevicesRequest) -> Query:
    """The query of a request; raises InvalidRequestError or PageTokenError."""
    if not 0 <= request.page_size <= MAX_PAGE:
        raise InvalidRequestError(f"page_size is {request.page_size}, 0 to {MAX_PAGE} are allowed")
    if len(request.has) > MAX_REQUIREMENTS:
        raise InvalidRequestError(f"{len(request.has)} requirements, at most {MAX_REQUIREMENTS} are allowed")
    try:
        after = ids.device_id(request.page_token) if request.page_token else ""
    except InvalidIdError as e:
        raise PageTokenError from e
    return Query(
        after=after,
        limit=request.page_size or DEFAULT_PAGE,
        selector=parse_selector(request.selector),
        has=tuple(parse_requirement(text) for text in request.has),
        online=request.online if request.HasField("online") else None,
    )


class DeviceRpcs(registry_pb2_grpc.RegistryServiceServicer):
    """What each RPC does and how it fails stands in registry.proto."""

    _devices: Devices

    async def RegisterDevice(self, request: pb.RegisterDeviceRequest, context: Any) -> pb.RegisterDeviceResponse:
        """See registry.proto."""
        state = _state(request.state) or DeviceState.ACTIVE
        view = await self._devices.register(request.device_id, dict(request.labels), state)
        return pb.RegisterDeviceResponse(device=view_to_proto(view))

    async def GetDevice(self, request: pb.GetDeviceRequest, context: Any) -> pb.GetDeviceResponse:
        """See registry.proto."""
        return pb.GetDeviceResponse(device=view_to_proto(await self._devices.get(request.device_id)))

    async def ListDevices(self, request: pb.ListDevicesRequest, context: Any) -> pb.ListDevicesResponse:
        """See registry.proto."""
        page, more = await self._devices.find(query_of(request))
        token = page[-1].record.id if more else ""
        return pb.ListDevicesResponse(devices=[view_to_proto(view) for view in page], next_page_token=token)

    async def UpdateDevice(self, request: pb.UpdateDeviceRequest, context: Any) -> pb.UpdateDeviceResponse:
        """See registry.proto."""
        view = await self._devices.update(
            request.device_id, request.revision, _state(request.state), dict(request.labels)
        )
        return pb.UpdateDeviceResponse(device=view_to_proto(view))

    async def WatchDevices(
        self, request: pb.WatchDevicesRequest, context: Any
    ) -> AsyncIterator[pb.WatchDevicesResponse]:
        """See registry.proto."""
        async for view in self._devices.watch(request.device_ids, request.changes_only):
            if view is None:
                yield pb.WatchDevicesResponse(caught_up=True)
            else:
                yield pb.WatchDevicesResponse(device=view_to_proto(view))
