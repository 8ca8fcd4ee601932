"""Certificates renewed over the link, with correct and broken devices: real bridge, real registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.chassis.identity import IdentityFiles
from tests.fakes.device import LinkDevice, offers
from tests.fixtures.mesh import Mesh, client
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.registry.v1 import enrolment_pb2 as ep
from yggdrasil.registry.v1 import enrolment_pb2_grpc
from yggdrasil.registry.v1 import registry_pb2 as rp

DER = serialization.Encoding.DER


async def connected(mesh: Mesh, files: IdentityFiles, **changes: Any) -> LinkDevice:
    device = await LinkDevice.connect(mesh.processes.endpoint("link"), files, mesh.one)
    mesh._devices.append(device)
    await device.negotiate(**changes)
    return device


def leaf(files: IdentityFiles) -> x509.Certificate:
    return x509.load_pem_x509_certificates(files.read("cert.pem"))[0]


def request(key: Any, name: str) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256()).public_bytes(DER)


def own_request(files: IdentityFiles, name: str) -> bytes:
    return request(serialization.load_pem_private_key(files.read("key.pem"), None), name)


async def issued(device: LinkDevice) -> bytes:
    """Return both certificates, assembled from their slices."""
    data, size = b"", 1
    while len(data) < size:
        one: link.CertificateIssued = await device.expect("certificate_issued")
        assert not one.message, one.message
        assert one.offset_bytes == len(data)
        data, size = data + one.data, one.size_bytes
    return data


async def still_served(device: LinkDevice) -> None:
    device.send(ping=link.Ping(token=5))
    assert (await device.expect("pong")).token == 5


async def test_expiring_certificate_is_renewed_for_the_same_key(mesh: Mesh) -> None:
    files = mesh.pki.ending("device", mesh.one, 99)
    limits = link.Limits(rx_frame_bytes=256, tx_frame_bytes=1024, calls_in_flight=2, rx_record_bytes=1024)
    device = await connected(mesh, files, limits=limits)
    await device.expect("certificate_expiring")
    device.send(certificate_request=link.CertificateRequest(certificate_request=own_request(files, mesh.one)))
    both = await issued(device)
    issuer = x509.load_pem_x509_certificates(files.read("cert.pem"))[1].public_bytes(DER)
    assert both.endswith(issuer)
    new = x509.load_der_x509_certificate(both.removesuffix(issuer))
    assert new.public_key() == leaf(files).public_key()
    assert new.not_valid_after_utc > leaf(files).not_valid_after_utc
    await still_served(device)
    again = await connected(mesh, files)  # the old one stays valid until it expires
    await again.expect("certificate_expiring")


async def test_device_with_lasting_certificate_is_not_asked(mesh: Mesh) -> None:
    await still_served(await connected(mesh, mesh.pki.ending("device", mesh.one, 170)))


async def test_device_without_the_feature_is_not_asked(mesh: Mesh) -> None:
    files = mesh.pki.ending("device", mesh.one, 10)
    await still_served(await connected(mesh, files, features=offers("telemetry")))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (lambda files, mesh: request(ec.generate_private_key(ec.SECP256R1()), mesh.one), "a different key"),
        (lambda files, mesh: own_request(files, "another-device"), "another-device"),
        (lambda files, mesh: b"garbage", "not a PKCS#10 request"),
        (lambda files, mesh: own_request(files, mesh.one)[:-1] + b"\0", "PKCS#10|signed by its own key"),
    ],
    ids=["key", "device", "garbage", "signature"],
)
async def test_foreign_request_is_refused_and_link_continues(
    mesh: Mesh, asked: Callable[[IdentityFiles, Mesh], bytes], says: str
) -> None:
    files = mesh.pki.ending("device", mesh.one, 10)
    device = await connected(mesh, files)
    await device.expect("certificate_expiring")
    device.send(certificate_request=link.CertificateRequest(certificate_request=asked(files, mesh)))
    answer = await device.expect("certificate_issued")
    assert not answer.size_bytes and not answer.data
    assert any(part in answer.message for part in says.split("|")), answer.message
    await still_served(device)


async def test_revoked_certificate_is_not_renewed(mesh: Mesh) -> None:
    files = mesh.pki.ending("device", mesh.one, 10)
    device = await connected(mesh, files)
    await device.expect("certificate_expiring")
    async with client(mesh.processes.endpoint("registry"), mesh.pki) as channel:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
        await stub.RevokeCertificates(ep.RevokeCertificatesRequest(device_id=mesh.one), timeout=20)
    device.send(certificate_request=link.CertificateRequest(certificate_request=own_request(files, mesh.one)))
    assert not _issued(await device.ended())


async def test_suspended_device_is_not_renewed(mesh: Mesh) -> None:
    files = mesh.pki.ending("device", mesh.one, 10)
    device = await connected(mesh, files)
    await device.expect("certificate_expiring")
    change = rp.UpdateDeviceRequest(device_id=mesh.one, state=rp.DEVICE_STATE_SUSPENDED)
    await mesh.registry.UpdateDevice(change, timeout=20)
    device.send(certificate_request=link.CertificateRequest(certificate_request=own_request(files, mesh.one)))
    assert not _issued(await device.ended())


def _issued(frames: list[link.Frame]) -> bool:
    return any(frame.certificate_issued.data for frame in frames)


async def test_unsolicited_request_ends_the_link(mesh: Mesh) -> None:
    files = mesh.pki.ending("device", mesh.one, 10)
    device = await connected(mesh, files)
    await device.expect("certificate_expiring")
    asked = link.CertificateRequest(certificate_request=own_request(files, mesh.one))
    device.send(certificate_request=asked)
    await issued(device)
    device.send(certificate_request=asked)
    (goodbye,) = await device.ended()
    assert goodbye.goodbye.code == link.GOODBYE_CODE_PROTOCOL_ERROR


async def test_unavailable_registry_refuses_and_link_continues(own_mesh: Mesh) -> None:
    files = own_mesh.pki.ending("device", own_mesh.one, 10)
    device = await connected(own_mesh, files)
    await device.expect("certificate_expiring")
    own_mesh.processes.running["registry"].kill()
    device.send(certificate_request=link.CertificateRequest(certificate_request=own_request(files, own_mesh.one)))
    answer = await device.expect("certificate_issued")
    assert answer.message and not answer.data
    await still_served(device)
