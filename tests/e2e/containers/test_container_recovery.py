"""SIGKILL of each part of the mesh in containers: it restarts automatically, and registrations are kept."""

from __future__ import annotations

import grpc
import pytest

from tests.e2e.containers.mesh import SERVICES, ComposeMesh
from tests.fixtures.wait import until
from yggdrasil.common.v1 import value_pb2
from yggdrasil.jotunheim.v1 import bridge_pb2 as bp
from yggdrasil.jotunheim.v1 import bridge_pb2_grpc
from yggdrasil.registry.v1 import registry_pb2 as rp
from yggdrasil.registry.v1 import registry_pb2_grpc

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

WITHIN_S = 30.0


class _Client:
    """One client for the whole test, like a program of a user."""

    def __init__(self, mesh: ComposeMesh) -> None:
        self._channels = [mesh.channel("registry"), mesh.channel("jotunheim_bridge")]
        self.registry = registry_pb2_grpc.RegistryServiceStub(self._channels[0])
        self.bridge = bridge_pb2_grpc.BridgeServiceStub(self._channels[1])

    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    def writes(self, on: bool) -> bool:
        request = bp.WritePropertyRequest(
            device_id="porch-1", capability="led0", property="on", value=value_pb2.Value(bool=on)
        )
        try:
            self.bridge.WriteProperty(request, timeout=3)
        except grpc.RpcError:
            return False
        return True

    def knows(self, device_id: str) -> bool:
        try:
            answer = self.registry.ListDevices(rp.ListDevicesRequest(selector="kept=yes"), timeout=3)
        except grpc.RpcError:
            return False
        return device_id in [device.id for device in answer.devices]

    def contract(self) -> rp.GetContractResponse:
        return self.registry.GetContract(rp.GetContractRequest(device_id="porch-1"), timeout=10)


@pytest.mark.parametrize("part", ["nats", *SERVICES, "porch-1"])
def test_after_a_kill_all_is_as_before(compose: ComposeMesh, part: str) -> None:
    client, shelf = _Client(compose), f"shelf-{part.replace('_', '-')}"
    try:
        until(lambda: client.writes(False), WITHIN_S, "porch-1 can be called before")
        client.registry.RegisterDevice(rp.RegisterDeviceRequest(device_id=shelf, labels={"kept": "yes"}), timeout=10)
        before = client.contract()
        compose.kill(part)
        until(lambda: client.writes(True), WITHIN_S, f"porch-1 can be called after {part} was killed")
        assert compose.board("porch-1", "led0.on") == "on"
        until(lambda: client.knows(shelf), WITHIN_S, "the registered device is still there")
        assert client.contract() == before
        until(lambda: _health(compose, part) == "healthy", WITHIN_S, f"{part} healthy")
    finally:
        client.close()


def _health(mesh: ComposeMesh, service: str) -> str:
    return str(mesh.container(service).attrs["State"]["Health"]["Status"])
