"""The port Registry over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc.aio

from services.chassis import codec, status
from services.chassis.errors import RemoteError
from services.domain.contract import Contract
from services.domain.errors import Code
from services.jotunheim_bridge.ports import Build
from yggdrasil.registry.v1 import registry_pb2 as pb
from yggdrasil.registry.v1 import registry_pb2_grpc

TIMEOUT_S = 5.0


@contextmanager
def _converted() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as e:
        raise status.from_rpc(e, "the registry") from e


class GrpcRegistry:
    """Every call has a deadline of TIMEOUT_S seconds and raises RemoteError with the registry's own code."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: registry_pb2_grpc.RegistryServiceAsyncStub = registry_pb2_grpc.RegistryServiceStub(channel)

    async def state(self, device_id: str) -> str | None:
        """The device's state, such as `active`; None where it is unknown."""
        try:
            with _converted():
                answer = await self._stub.GetDevice(pb.GetDeviceRequest(device_id=device_id), timeout=TIMEOUT_S)
        except RemoteError as e:
            if e.code is Code.NOT_FOUND:
                return None
            raise
        return pb.DeviceState.Name(answer.device.state).removeprefix("DEVICE_STATE_").lower()

    async def document(self, digest: str) -> bytes | None:
        """A capability document, or None."""
        try:
            with _converted():
                request = pb.GetCapabilityDocumentRequest(digest=digest)
                return (await self._stub.GetCapabilityDocument(request, timeout=TIMEOUT_S)).document
        except RemoteError as e:
            if e.code is Code.NOT_FOUND:
                return None
            raise

    async def record(self, contract: Contract, document: bytes, build: Build) -> tuple[Contract, bool]:
        """Stores what was agreed; returns it as stored and whether it is a new revision."""
        request = pb.RecordContractRequest(
            contract=codec.contract_to_proto(contract),
            document=document,
            model=build.model,
            device_class=build.device_class,
            firmware_version=build.firmware_version,
            slot=build.slot,
        )
        with _converted():
            answer = await self._stub.RecordContract(request, timeout=TIMEOUT_S)
        return codec.contract_from_proto(answer.contract), answer.changed

    async def online(self, after: str, limit: int) -> tuple[list[str], str]:
        """Devices that are online, ordered by id, and the token of the next page."""
        request = pb.ListDevicesRequest(page_size=limit, page_token=after, online=True)
        with _converted():
            answer = await self._stub.ListDevices(request, timeout=TIMEOUT_S)
        return [device.id for device in answer.devices], answer.next_page_token
