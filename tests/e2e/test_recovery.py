"""SIGKILL of each part: the mesh recovers automatically and keeps its registrations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from tests.fakes.board import Agent
from tests.fixtures.mesh import Mesh
from tests.fixtures.wait import eventually, until
from yggdrasil.common.v1 import value_pb2
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb
from yggdrasil.registry.v1 import registry_pb2 as rp


@pytest.fixture
def agent(own_mesh: Mesh, tmp_path: Path) -> object:
    started = Agent.one(
        own_mesh.one, own_mesh.processes.endpoint("link"), own_mesh.pki.directory("device", own_mesh.one), tmp_path
    )
    until(started.active, what=started.log())
    yield started
    started.stop()


async def _writes(mesh: Mesh, on: bool) -> bool:
    request = pb.WritePropertyRequest(
        device_id=mesh.one, capability="led0", property="on", value=value_pb2.Value(bool=on)
    )
    try:
        await mesh.bridge.WriteProperty(request, timeout=2)
    except grpc.aio.AioRpcError:
        return False
    return True


def _kill_nats(mesh: Mesh) -> None:
    mesh.processes.nats.kill()
    mesh.processes.nats.start()


def _kill(name: str) -> Callable[[Mesh], None]:
    def kill(mesh: Mesh) -> None:
        mesh.processes.running[name].kill()
        mesh.processes.start(name)

    return kill


@pytest.mark.parametrize(
    "kill",
    [_kill_nats, _kill("registry"), _kill("jotunheim_bridge")],
    ids=["nats-server", "registry", "jotunheim_bridge"],
)
async def test_after_a_kill_the_mesh_comes_back_and_has_lost_nothing(
    own_mesh: Mesh, agent: Agent, kill: Callable[[Mesh], None]
) -> None:
    mesh = own_mesh
    await mesh.registry.RegisterDevice(rp.RegisterDeviceRequest(device_id=mesh.two, labels={"zone": "hall"}))
    before = (await mesh.registry.GetContract(rp.GetContractRequest(device_id=mesh.one))).contract
    kill(mesh)

    async def callable_again() -> bool:
        return await _writes(mesh, True)

    await eventually(callable_again, 20, "the device can be called")
    assert agent.get("led0.on") == "on"

    async def known() -> bool:
        try:
            answer = await mesh.registry.ListDevices(rp.ListDevicesRequest(selector="zone=hall"), timeout=2)
        except grpc.aio.AioRpcError:
            return False
        return [d.id for d in answer.devices] == [mesh.two]

    await eventually(known, 20, "the registered device")
    after = (await mesh.registry.GetContract(rp.GetContractRequest(device_id=mesh.one))).contract
    assert after == before

    async def online() -> bool:
        device = (await mesh.registry.GetDevice(rp.GetDeviceRequest(device_id=mesh.one), timeout=2)).device
        return bool(device.presence.online)

    await eventually(online, 20, "online in the registry")


async def test_the_sessions_of_a_bridge_that_does_not_come_back_end(own_mesh: Mesh, agent: Agent) -> None:
    mesh = own_mesh
    mesh.processes.running["jotunheim_bridge"].kill()

    async def offline() -> bool:
        device = (await mesh.registry.GetDevice(rp.GetDeviceRequest(device_id=mesh.one))).device
        return not device.presence.online

    await eventually(offline, 25, "offline in the registry")


async def test_an_index_that_was_deleted_is_rebuilt(own_mesh: Mesh, agent: Agent, tmp_path: Path) -> None:
    mesh = own_mesh
    mesh.processes.running["registry"].kill()
    for file in (tmp_path / "registry").iterdir():
        file.unlink()
    mesh.processes.start("registry")

    async def as_before() -> bool:
        device = (await mesh.registry.GetDevice(rp.GetDeviceRequest(device_id=mesh.one), timeout=2)).device
        return device.presence.online and len(device.capabilities) == 6

    await eventually(as_before, 20)
