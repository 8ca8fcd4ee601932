"""The RPCs of RegistryService about devices. Bounds of the fields are checked here and in the domain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from services.chassis import codec
from services.chassis.rpc import caller
from services.chassis.status import to_failure
from services.domain.errors import InvalidRequestError
from services.registry.model import DeviceState, DeviceView
from services.registry.service.devices import Devices
from services.registry.service.registration import NewDevice, Registration, check_batch
from services.registry.service.removal import Removal
from services.registry.service.watching import Watching, to_token
from yggdrasil.registry.v1 import registry_pb2 as pb
from yggdrasil.registry.v1 import registry_pb2_grpc


def view_to_proto(view: DeviceView) -> pb.Device:
    """Return the message Device."""
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
        certificate_expire_time=codec.timestamp(view.certificate_expire_time),
    )


def state_of(number: int, field: str = "state") -> DeviceState | None:
    """Return the state, None for unspecified; raises InvalidRequestError, which names the request's `field`."""
    if number == pb.DEVICE_STATE_UNSPECIFIED:
        return None
    if number not in pb.DeviceState.values():
        raise InvalidRequestError(f"state {number} is unknown to this version", field=field)
    return DeviceState[pb.DeviceState.Name(pb.DeviceState.ValueType(number)).removeprefix("DEVICE_STATE_")]


class DeviceRpcs(registry_pb2_grpc.RegistryServiceServicer):
    """See registry.proto for each RPC and its errors."""

    _devices: Devices
    _registration: Registration
    _watching: Watching
    _removal: Removal

    async def RegisterDevice(self, request: pb.RegisterDeviceRequest, context: Any) -> pb.RegisterDeviceResponse:
        """See registry.proto."""
        state = state_of(request.state) or DeviceState.ACTIVE
        view = await self._devices.register(request.device_id, dict(request.labels), state)
        return pb.RegisterDeviceResponse(device=view_to_proto(view))

    async def GetDevice(self, request: pb.GetDeviceRequest, context: Any) -> pb.GetDeviceResponse:
        """See registry.proto."""
        return pb.GetDeviceResponse(device=view_to_proto(await self._devices.get(request.device_id)))

    async def UpdateDevice(self, request: pb.UpdateDeviceRequest, context: Any) -> pb.UpdateDeviceResponse:
        """See registry.proto."""
        view = await self._devices.update(
            request.device_id, request.revision, state_of(request.state), dict(request.labels)
        )
        return pb.UpdateDeviceResponse(device=view_to_proto(view))

    async def DeleteDevice(self, request: pb.DeleteDeviceRequest, context: Any) -> pb.DeleteDeviceResponse:
        """See registry.proto."""
        await self._removal.remove(request.device_id, request.revision, caller().uri, readmit=request.readmit)
        return pb.DeleteDeviceResponse()

    async def RegisterDevices(
        self, request_iterator: AsyncIterator[pb.RegisterDevicesRequest], context: Any
    ) -> pb.RegisterDevicesResponse:
        """See registry.proto."""
        done = await self._registration.register_all(_batches(request_iterator))
        return pb.RegisterDevicesResponse(
            registered=done.registered,
            failed=done.failed,
            failures=[
                pb.RegistrationFailure(device_id=f.device_id, position=f.position, failure=to_failure(f.error))
                for f in done.failures
            ],
            revision=done.revision,
        )

    async def WatchDevices(
        self, request: pb.WatchDevicesRequest, context: Any
    ) -> AsyncIterator[pb.WatchDevicesResponse]:
        """See registry.proto."""
        watch = self._watching.watch(request.device_ids, request.changes_only, request.resume_token)
        async for change, position in watch:
            device = change.device if change is not None else None
            yield pb.WatchDevicesResponse(device=device, caught_up=change is None, resume_token=to_token(position))


async def _batches(requests: AsyncIterator[pb.RegisterDevicesRequest]) -> AsyncIterator[Sequence[NewDevice]]:
    async for request in requests:
        check_batch(len(request.devices))
        yield [NewDevice(d.device_id, d.labels, _known_state(d.state)) for d in request.devices]


def _known_state(number: int) -> DeviceState | None:
    try:
        return state_of(number) or DeviceState.ACTIVE
    except InvalidRequestError:
        return None
