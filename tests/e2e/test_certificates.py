"""Certificates at gRPC ports: only services and users of this mesh are accepted."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from services.chassis import channel
from services.chassis.certificates import Pair, cert_pem, sign_leaf, validity
from services.chassis.identity import Identity, IdentityFiles
from tests.fixtures.mesh import Mesh
from tests.fixtures.pki import Pki
from ygg.pki import x509
from ygg.pki.names import Kind
from ygg.pki.store import utc_now
from yggdrasil.registry.v1 import registry_pb2 as rp
from yggdrasil.registry.v1 import registry_pb2_grpc

PORTS = ["registry", "jotunheim_bridge"]


async def _list(endpoint: str, files: IdentityFiles, service: str = "registry") -> None:
    async with channel.connect(endpoint, files, service) as opened:
        stub = registry_pb2_grpc.RegistryServiceStub(opened)
        await stub.ListDevices(rp.ListDevicesRequest(), timeout=5)


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("caller", ["device", "other mesh", "expired"])
async def test_a_grpc_port_lets_no_stranger_in(mesh: Mesh, other_pki: Pki, port: str, caller: str) -> None:
    files = {
        "device": lambda: mesh.pki.files("device", mesh.one),
        "other mesh": lambda: other_pki.files("user", "operator"),
        "expired": lambda: mesh.pki.expired("user", "operator"),
    }[caller]()
    if caller == "other mesh":  # make the caller trust us, so that the port refuses
        ours = (mesh.pki.directory("user", "operator") / "services.pem").read_bytes()
        (files.directory / "services.pem").write_bytes(ours)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _list(mesh.processes.endpoint(port), files, port)
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


async def test_a_service_is_not_accepted_in_place_of_another(mesh: Mesh) -> None:
    """The registry answers at the bridge's endpoint, with a valid certificate of the service CA."""
    files = mesh.pki.files("user", "operator")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _list(mesh.processes.endpoint("registry"), files, "jotunheim_bridge")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("claims", "issuer", "why"),
    [
        (Identity("main", "service", "registry"), Kind.USER, "was not issued by the service CA"),
        (Identity("main", "user", "operator"), Kind.SERVICE, "was not issued by the user CA"),
        (Identity("other", "user", "operator"), Kind.USER, "belongs to another tenant"),
        (Identity("main", "device", "porch-1"), Kind.USER, "a device may not use this port"),
    ],
)
async def test_a_ca_speaks_only_for_its_own_kind(
    mesh: Mesh, tmp_path: Path, claims: Identity, issuer: Kind, why: str
) -> None:
    ca_key = mesh.pki.store.ca_key(issuer)
    assert ca_key is not None
    ca = Pair(mesh.pki.store.ca(issuer), ca_key)
    key = x509.new_key()
    # A stolen key of that CA could sign any claim with the key usage of a client.
    leaf = sign_leaf(ca, key.public_key(), claims, validity(utc_now(), 1, ca.cert))
    (tmp_path / "cert.pem").write_bytes(cert_pem(leaf, ca.cert))
    (tmp_path / "key.pem").write_bytes(x509.key_pem(key))
    (tmp_path / "services.pem").write_bytes(mesh.pki.files("user", "operator").read("services.pem"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _list(mesh.processes.endpoint("registry"), IdentityFiles(tmp_path))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert why in (caught.value.details() or "")
