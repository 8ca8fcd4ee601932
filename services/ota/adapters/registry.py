"""The port Registry over gRPC."""

from __future__ import annotations

import grpc.aio

from services.chassis import status
from services.chassis.access import access_of
from services.domain.access import DeviceAccess
from services.ota.ports import KnownDevice
from yggdrasil.registry.v1 import registry_pb2 as pb
from yggdrasil.registry.v1 import registry_pb2_grpc

TIMEOUT_S = 5.0
PAGE = 1000


class GrpcRegistry:
    """Every call has a deadline of TIMEOUT_S seconds."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: registry_pb2_grpc.RegistryServiceAsyncStub = registry_pb2_grpc.RegistryServiceStub(channel)

    async def matching(self, selector: str) -> list[KnownDevice]:
        """See the port."""
        found: list[KnownDevice] = []
        token = ""
        while True:
            request = pb.ListDevicesRequest(
                page_size=PAGE, page_token=token, selector=selector, states=[pb.DEVICE_STATE_ACTIVE]
            )
            try:
                page = await self._stub.ListDevices(request, timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as e:
                raise status.from_rpc(e, "the registry") from e
            found += [KnownDevice(d.id, d.device_class, d.presence.online) for d in page.devices]
            token = page.next_page_token
            if not token:
                return found

    async def access(self, device_id: str) -> DeviceAccess | None:
        """See the port."""
        try:
            found = await self._stub.GetDevice(pb.GetDeviceRequest(device_id=device_id), timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as e:
            if e.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise status.from_rpc(e, "the registry") from e
        return access_of(found.device)
