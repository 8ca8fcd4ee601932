"""The mesh for scripts: devices through the registry, calls through the bridge, over gRPC with mutual TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from services.chassis import codec, status
from services.domain.capability import Capability
from services.domain.values import Value
from services.loki.adapters.pipeline import BridgePipeline
from services.loki.ports import DeviceQuery, DeviceSummary, TwinSummary
from yggdrasil.jotunheim.v1 import bridge_pb2 as bp
from yggdrasil.jotunheim.v1 import bridge_pb2_grpc
from yggdrasil.registry.v1 import registry_pb2 as rp
from yggdrasil.registry.v1 import registry_pb2_grpc, twin_pb2_grpc
from yggdrasil.registry.v1 import twin_pb2 as tp

PAGE = 500
MAX_DEVICES = 5000


@asynccontextmanager
async def _converted(what: str) -> AsyncIterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as e:
        raise status.from_rpc(e, what) from e


class GrpcMesh:
    """Implements the port Mesh. The channels belong to the caller."""

    def __init__(self, registry: grpc.aio.Channel, sessions: grpc.aio.Channel, bridge: BridgePipeline) -> None:
        """`sessions` is the channel to the bridge that `bridge` has its stream on."""
        self._sessions = bridge_pb2_grpc.BridgeServiceStub(sessions)
        self._registry = registry_pb2_grpc.RegistryServiceStub(registry)
        self._twins = twin_pb2_grpc.TwinServiceStub(registry)
        self._bridge = bridge

    async def devices(self, query: DeviceQuery, timeout_s: float) -> Sequence[DeviceSummary]:
        """Return devices ordered by id, at most MAX_DEVICES."""
        request = rp.ListDevicesRequest(page_size=PAGE, selector=query.selector, has=query.has, online=query.online)
        found: list[DeviceSummary] = []
        async with _converted("the registry"):
            while len(found) < MAX_DEVICES:
                page = await self._registry.ListDevices(request, timeout=timeout_s)
                found += [_summary(device) for device in page.devices]
                request.page_token = page.next_page_token
                if not page.next_page_token:
                    break
        return found

    async def device(self, device_id: str, timeout_s: float) -> DeviceSummary:
        """Return one device; raise the NOT_FOUND error."""
        async with _converted("the registry"):
            answer = await self._registry.GetDevice(rp.GetDeviceRequest(device_id=device_id), timeout=timeout_s)
        return _summary(answer.device)

    async def sessions(self, timeout_s: float) -> int:
        """Return the number of connected devices; 1000 also stands for more."""
        async with _converted("the bridge"):
            answer = await self._sessions.ListSessions(bp.ListSessionsRequest(page_size=1000), timeout=timeout_s)
        return len(answer.sessions)

    async def capabilities(self, device_id: str, timeout_s: float) -> Sequence[Capability]:
        """Return the capabilities of the device's current contract."""
        async with _converted("the registry"):
            answer = await self._registry.GetContract(rp.GetContractRequest(device_id=device_id), timeout=timeout_s)
        return codec.contract_from_proto(answer.contract).capabilities

    async def call(
        self, device_id: str, capability: str, action: str, arguments: Mapping[str, Value], timeout_s: float
    ) -> dict[str, Value]:
        """Run an action; return its results by name."""
        request = bp.InvokeRequest(
            device_id=device_id, capability=capability, action=action, arguments=codec.values_to_proto(arguments)
        )
        answer = await self._bridge.call(bp.PipelineRequest(invoke=request), timeout_s)
        return codec.values_from_proto(answer.invoke.results)

    async def read(self, device_id: str, capability: str, prop: str, timeout_s: float) -> Value:
        """Read a property from the device."""
        request = bp.ReadPropertyRequest(device_id=device_id, capability=capability, property=prop)
        answer = await self._bridge.call(bp.PipelineRequest(read=request), timeout_s)
        return codec.value_from_proto(answer.read.value)

    async def write(self, device_id: str, capability: str, prop: str, value: Value, timeout_s: float) -> None:
        """Write a property."""
        request = bp.WritePropertyRequest(
            device_id=device_id, capability=capability, property=prop, value=codec.value_to_proto(value)
        )
        await self._bridge.call(bp.PipelineRequest(write=request), timeout_s)

    async def twin(self, device_id: str, timeout_s: float) -> TwinSummary:
        """Return the device's twin."""
        async with _converted("the registry"):
            answer = await self._twins.GetTwin(tp.GetTwinRequest(device_id=device_id), timeout=timeout_s)
        return _twin(answer.twin)

    async def update_twin(self, device_id: str, desired: Mapping[str, Value], timeout_s: float) -> TwinSummary:
        """Merge into the desired state."""
        request = tp.UpdateTwinRequest(device_id=device_id, desired=codec.values_to_proto(desired))
        async with _converted("the registry"):
            answer = await self._twins.UpdateTwin(request, timeout=timeout_s)
        return _twin(answer.twin)


def _twin(twin: tp.Twin) -> TwinSummary:
    sides = (twin.desired, twin.reported, twin.delta)
    return TwinSummary(twin.revision, *(codec.values_from_proto(side) for side in sides))


def _summary(device: rp.Device) -> DeviceSummary:
    return DeviceSummary(
        id=device.id,
        online=device.presence.online,
        model=device.model,
        firmware=device.firmware_version,
        labels=dict(device.labels),
        has={c.id: f"{c.type}@{c.version}" for c in device.capabilities},
    )
