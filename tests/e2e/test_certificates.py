"""Whose certificate gets in where: gRPC ports trust services and users of this mesh, and nobody else."""

from __future__ import annotations

import grpc
import pytest

from services.chassis import channel
from services.chassis.identity import IdentityFiles
from tests.fixtures.mesh import Mesh
from tests.fixtures.pki import Pki
from yggdrasil.registry.v1 import registry_pb2 as rp
from yggdrasil.registry.v1 import registry_pb2_grpc

PORTS = ["registry", "jotunheim_bridge"]


async def _list(endpoint: str, files: IdentityFiles) -> None:
    async with channel.connect(endpoint, files) as opened:
        stub = registry_pb2_grpc.RegistryServiceStub(opened)
        await stub.ListDevices(rp.ListDevicesRequest(), timeout=5)


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("who", ["device", "other mesh", "expired"])
async def test_a_grpc_port_lets_no_stranger_in(mesh: Mesh, other_pki: Pki, port: str, who: str) -> None:
    files = {
        "device": lambda: mesh.pki.files("device", mesh.one),
        "other mesh": lambda: other_pki.files("user", "operator"),
        "expired": lambda: mesh.pki.expired("user", "operator"),
    }[who]()
    if who == "other mesh":  # let it trust us, so that the refusal is the port's
        ours = (mesh.pki.directory("user", "operator") / "services.pem").read_bytes()
        (files.directory / "services.pem").write_bytes(ours)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _list(mesh.processes.endpoint(port), files)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_client_without_a_certificate_is_cut_off(mesh: Mesh) -> None:
    trust = mesh.pki.files("user", "operator").read("services.pem")
    endpoint = mesh.processes.endpoint("registry")
    async with grpc.aio.secure_channel(endpoint, grpc.ssl_channel_credentials(trust)) as opened:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await registry_pb2_grpc.RegistryServiceStub(opened).ListDevices(rp.ListDevicesRequest(), timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_services_and_users_of_this_mesh_get_in(mesh: Mesh) -> None:
    for kind, name in (("user", "auditor"), ("service", "loki")):
        await _list(mesh.processes.endpoint("registry"), mesh.pki.files(kind, name))
