"""The devices of the mesh as placement sees them, from the registry's watch. Implements the port Fleet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import grpc
import grpc.aio

from services.chassis import codec, status
from services.domain.contract import Contract
from services.loki.programs.ports import FleetDevice
from yggdrasil.registry.v1 import registry_pb2 as pb
from yggdrasil.registry.v1 import registry_pb2_grpc

RETRY_S = 0.5
_log = logging.getLogger(__name__)


class RegistryFleet:
    """The mirror. `run` must be running; `ready` returns once it holds every device that existed at the start."""

    def __init__(self, registry: grpc.aio.Channel) -> None:
        self._registry = registry_pb2_grpc.RegistryServiceStub(registry)
        self.devices: dict[str, FleetDevice] = {}
        self.changed: Callable[[], None] = lambda: None
        self._caught_up = asyncio.Event()
        self._token = ""

    async def ready(self) -> None:
        """Return once the mirror has caught up."""
        await self._caught_up.wait()

    async def run(self) -> None:
        """Watch until cancelled; resume the watch when it breaks."""
        while True:
            try:
                async for answer in self._registry.WatchDevices(pb.WatchDevicesRequest(resume_token=self._token)):
                    self._take(answer)
            except grpc.aio.AioRpcError as e:
                if e.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE):
                    self._token = ""
                _log.info("watching devices again", extra={"why": e.details()})
            await asyncio.sleep(RETRY_S)

    def _take(self, answer: pb.WatchDevicesResponse) -> None:
        self._token = answer.resume_token or self._token
        if answer.caught_up:
            self._caught_up.set()
            self.changed()
        if not answer.HasField("device"):
            return
        device = answer.device
        found = FleetDevice(dict(device.labels), device.state == pb.DEVICE_STATE_ACTIVE, device.contract_revision)
        if self.devices.get(device.id) != found:
            self.devices[device.id] = found
            if self._caught_up.is_set():
                self.changed()

    async def contract(self, device_id: str, timeout_s: float) -> Contract | None:
        """Return the device's current contract, or None."""
        try:
            answer = await self._registry.GetContract(pb.GetContractRequest(device_id=device_id), timeout=timeout_s)
        except grpc.aio.AioRpcError as e:
            if e.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise status.from_rpc(e, "the registry") from e
        return codec.contract_from_proto(answer.contract)
