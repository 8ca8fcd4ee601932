"""RenewCertificate at the real registry: bound to key, device and CA, and only while the certificate is admitted."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.chassis.identity import IdentityFiles
from tests.fixtures.mesh import client
from tests.fixtures.nats import NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess, starter
from tests.integration.registry.calls import refused
from yggdrasil.registry.v1 import enrolment_pb2 as pb
from yggdrasil.registry.v1 import enrolment_pb2_grpc, registry_pb2_grpc
from yggdrasil.registry.v1 import registry_pb2 as rp

DER = serialization.Encoding.DER


@pytest.fixture(scope="module")
def service(nats_server: NatsServer, pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with starter(pki) as start:
        data_dir = tmp_path_factory.mktemp("registry")
        process = start("registry", nats_url=nats_server.url, data_dir=data_dir, enrol_listen="127.0.0.1:0")
        process.ready()
        yield process


@dataclass
class Renewing:
    """Clients of the registry as bridge and as user, and a device with certificates of any remaining lifetime."""

    as_bridge: Any
    as_user: Any
    devices: Any
    pki: Pki
    device_id: str

    def files(self, days_left: int = 30) -> IdentityFiles:
        return self.pki.ending("device", self.device_id, days_left)

    async def renew(self, files: IdentityFiles, **changes: Any) -> pb.RenewCertificateResponse:
        fields = {
            "device_id": self.device_id,
            "certificate": leaf(files).public_bytes(DER),
            "certificate_request": request(key_of(files), self.device_id),
        }
        answer: pb.RenewCertificateResponse = await self.as_bridge.RenewCertificate(
            pb.RenewCertificateRequest(**{**fields, **changes}), timeout=20
        )
        return answer

    async def refusal(self, files: IdentityFiles, **changes: Any) -> tuple[grpc.StatusCode, str]:
        return await refused(self.renew(files, **changes))


@pytest.fixture
async def renewing(service: ServiceProcess, pki: Pki) -> AsyncIterator[Renewing]:
    device_id = f"renew-{secrets.token_hex(4)}"
    async with (
        client(service.listen, pki, "service", "jotunheim_bridge") as bridge,
        client(service.listen, pki) as user,
    ):
        devices = registry_pb2_grpc.RegistryServiceStub(user)
        await devices.RegisterDevice(rp.RegisterDeviceRequest(device_id=device_id), timeout=20)
        as_bridge, as_user = (enrolment_pb2_grpc.EnrolmentServiceStub(channel) for channel in (bridge, user))
        yield Renewing(as_bridge, as_user, devices, pki, device_id)


def leaf(files: IdentityFiles) -> x509.Certificate:
    return x509.load_pem_x509_certificates(files.read("cert.pem"))[0]


def key_of(files: IdentityFiles) -> Any:
    return serialization.load_pem_private_key(files.read("key.pem"), None)


def request(key: Any, name: str) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256()).public_bytes(DER)


async def test_renewal_gives_the_same_key_and_device_a_later_end(renewing: Renewing, pki: Pki) -> None:
    files = renewing.files()
    answer = await renewing.renew(files)
    old, new = leaf(files), x509.load_der_x509_certificate(answer.certificate)
    new.verify_directly_issued_by(x509.load_der_x509_certificate(answer.issuer))
    assert answer.issuer == x509.load_pem_x509_certificates(files.read("cert.pem"))[1].public_bytes(DER)
    assert new.public_key() == old.public_key() and new.serial_number != old.serial_number
    assert _sans(new) == _sans(old)
    assert new.not_valid_after_utc - old.not_valid_after_utc > dt.timedelta(days=300)
    assert answer.expire_time.seconds == int(new.not_valid_after_utc.timestamp())
    again = await renewing.renew(files, certificate=answer.certificate)  # of one that was issued on the link since
    assert again.expire_time.seconds >= answer.expire_time.seconds


def _sans(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


async def test_renewal_is_for_the_bridge_alone(renewing: Renewing, service: ServiceProcess, pki: Pki) -> None:
    files = renewing.files()
    for kind, name in (("user", "operator"), ("service", "loki"), ("service", "ota")):
        async with client(service.listen, pki, kind, name) as channel:
            renewing.as_bridge = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
            assert await renewing.refusal(files) == (grpc.StatusCode.PERMISSION_DENIED, "CALLER_NOT_ALLOWED")


async def test_bridge_gets_no_certificate_for_its_own_key(renewing: Renewing) -> None:
    theirs = request(ec.generate_private_key(ec.SECP256R1()), renewing.device_id)
    refusal = await renewing.refusal(renewing.files(), certificate_request=theirs)
    assert refusal == (grpc.StatusCode.PERMISSION_DENIED, "CERTIFICATE_KEY")


async def test_certificate_of_another_device_or_ca_is_refused(renewing: Renewing, other_pki: Pki) -> None:
    foreign = (grpc.StatusCode.PERMISSION_DENIED, "CERTIFICATE_FOREIGN")
    files = renewing.files()
    other = renewing.pki.ending("device", "another-device", 30)
    assert await renewing.refusal(files, certificate=leaf(other).public_bytes(DER)) == foreign
    assert await renewing.refusal(other) == foreign
    assert await renewing.refusal(other_pki.ending("device", renewing.device_id, 30)) == foreign
    assert await renewing.refusal(renewing.pki.ending("user", renewing.device_id, 30)) == foreign


async def test_certificate_that_has_expired_is_refused(renewing: Renewing) -> None:
    files = renewing.pki.expired("device", renewing.device_id)
    assert await renewing.refusal(files) == (grpc.StatusCode.FAILED_PRECONDITION, "CERTIFICATE_ENDED")


async def test_certificate_that_was_revoked_is_refused(renewing: Renewing) -> None:
    files = renewing.files()
    await renewing.as_user.RevokeCertificates(pb.RevokeCertificatesRequest(device_id=renewing.device_id), timeout=20)
    assert await renewing.refusal(files) == (grpc.StatusCode.FAILED_PRECONDITION, "CERTIFICATE_REVOKED")


async def test_device_that_is_not_active_is_refused(renewing: Renewing) -> None:
    files = renewing.files()
    change = rp.UpdateDeviceRequest(device_id=renewing.device_id, state=rp.DEVICE_STATE_SUSPENDED)
    await renewing.devices.UpdateDevice(change, timeout=20)
    assert await renewing.refusal(files) == (grpc.StatusCode.FAILED_PRECONDITION, "DEVICE_NOT_ACTIVE")


async def test_device_that_is_unknown_is_refused(renewing: Renewing) -> None:
    renewing.device_id += "-unknown"
    assert await renewing.refusal(renewing.files()) == (grpc.StatusCode.NOT_FOUND, "DEVICE_NOT_FOUND")


@pytest.mark.parametrize("field", ["certificate", "certificate_request"])
@pytest.mark.parametrize("garbage", [b"", b"garbage", b"\x30\x03\x02\x01\x00", b"x" * 5000], ids=len)
async def test_bytes_that_are_neither_are_refused(renewing: Renewing, field: str, garbage: bytes) -> None:
    refusal = await renewing.refusal(renewing.files(), **{field: garbage})
    assert refusal == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
