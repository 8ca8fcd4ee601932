"""Enrolment by devices and attackers: real registry, real TLS, certificates checked by the library."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import hashlib
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from services.chassis import nats as chassis_nats
from tests.fixtures.mesh import client
from tests.fixtures.nats import NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess, starter
from tests.integration.registry.calls import refused
from ygg.pki.names import Kind
from yggdrasil.device.v1 import enrol_pb2 as ep
from yggdrasil.registry.v1 import enrolment_pb2 as pb
from yggdrasil.registry.v1 import enrolment_pb2_grpc, registry_pb2_grpc
from yggdrasil.registry.v1 import registry_pb2 as rp

ALPN = "einherjar-enrol/1"


@pytest.fixture(scope="module")
def service(nats_server: NatsServer, pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with starter(pki) as start:
        data_dir = tmp_path_factory.mktemp("registry")
        process = start("registry", nats_url=nats_server.url, data_dir=data_dir, enrol_listen="127.0.0.1:0")
        process.ready()
        yield process


@pytest.fixture
async def enrolment(service: ServiceProcess, pki: Pki) -> AsyncIterator[Any]:
    async with client(service.listen, pki) as channel:
        yield enrolment_pb2_grpc.EnrolmentServiceStub(channel)


@dataclass(frozen=True)
class Text:
    """The parts of a token's text."""

    device_id: str
    secret: str
    fingerprint: bytes
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Text:
        token, _, place = text.partition("@")
        version, device_id, secret, fingerprint = token.split(".")
        assert version == "ygg1"
        host, _, port = place.rpartition(":")
        return cls(device_id, secret, base64.urlsafe_b64decode(fingerprint + "="), host, int(port))


async def token(enrolment: Any, device_id: str, **more: Any) -> Text:
    answer = await enrolment.CreateToken(pb.CreateTokenRequest(device_id=device_id, **more))
    return Text.parse(answer.secret)


def request(key: Any, name: str) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    asked = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return asked.public_bytes(serialization.Encoding.DER)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


async def connect(place: Text, alpn: str = ALPN) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    return await asyncio.open_connection(place.host, place.port, ssl=context)


async def talk(place: Text, data: bytes, alpn: str = ALPN) -> bytes:
    """Send bytes and read until the registry closes the connection."""
    reader, writer = await connect(place, alpn)
    try:
        writer.write(data)
        async with asyncio.timeout(15):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def framed(body: bytes) -> bytes:
    head = bytes([len(body)]) if len(body) < 0x80 else bytes([len(body) & 0x7F | 0x80, len(body) >> 7])
    return head + body


async def enrol(text: Text, key: Any, device_id: str = "", name: str = "", secret: str = "") -> ep.EnrolResponse:
    asked = ep.EnrolRequest(
        secret=secret or text.secret,
        device_id=device_id or text.device_id,
        certificate_request=request(key, name or device_id or text.device_id),
    )
    data = await talk(text, framed(asked.SerializeToString()))
    start = 1 if data[0] < 0x80 else 2
    return ep.EnrolResponse.FromString(data[start:])


async def test_token_yields_one_certificate_for_one_key(enrolment: Any, pki: Pki) -> None:
    text, key = await token(enrolment, "en-1", labels={"zone": "hall"}), new_key()
    granted = (await enrol(text, key)).granted
    leaf, ca = x509.load_pem_x509_certificates(granted.certificate_chain)
    leaf.verify_directly_issued_by(ca)
    assert ca == pki.store.ca(Kind.DEVICE)
    assert granted.service_ca == (pki.directory("service", "registry") / "services.pem").read_bytes()
    assert leaf.public_key() == key.public_key()
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.UniformResourceIdentifier) == ["ygg://main/device/en-1"]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    (shown,) = (await enrolment.ListTokens(pb.ListTokensRequest(device_id="en-1"))).tokens
    assert (shown.serial, shown.HasField("use_time")) == (f"{leaf.serial_number:x}", True)


async def test_the_server_proves_itself_by_the_roots_fingerprint(enrolment: Any, pki: Pki) -> None:
    text = await token(enrolment, "en-2")
    assert text.fingerprint == pki.store.root().fingerprint(hashes.SHA256())
    _, writer = await connect(text)
    tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
    chain = x509.load_pem_x509_certificates((pki.directory("service", "registry") / "enrol-chain.pem").read_bytes())
    assert tls.getpeercert(binary_form=True) == chain[0].public_bytes(serialization.Encoding.DER)
    assert chain[-1].fingerprint(hashes.SHA256()) == text.fingerprint
    writer.close()


async def test_used_token_is_refused_except_for_the_same_key(enrolment: Any) -> None:
    text, key = await token(enrolment, "en-3"), new_key()
    assert (await enrol(text, key)).HasField("granted")
    assert (await enrol(text, new_key())).refused.code == ep.ENROL_REFUSED_CODE_TOKEN_USED
    assert (await enrol(text, key)).HasField("granted")


async def test_only_one_of_two_concurrent_keys_is_certified(enrolment: Any) -> None:
    text = await token(enrolment, "en-4")
    answers = await asyncio.gather(*(enrol(text, new_key()) for _ in range(6)))
    assert sum(answer.HasField("granted") for answer in answers) == 1
    refusals = {answer.refused.code for answer in answers if answer.HasField("refused")}
    assert refusals == {ep.ENROL_REFUSED_CODE_TOKEN_USED}


async def test_foreign_and_guessed_tokens_are_refused_alike(enrolment: Any) -> None:
    text = await token(enrolment, "en-5")
    await token(enrolment, "en-6")
    other = (await enrol(text, new_key(), device_id="en-6")).refused
    guess = (await enrol(text, new_key(), secret="A" * 22)).refused
    assert other.code == guess.code == ep.ENROL_REFUSED_CODE_TOKEN_UNKNOWN
    assert (other.message, other.retry_after_ms) == (guess.message, 0)


async def test_a_deleted_token_is_worthless(enrolment: Any) -> None:
    text = await token(enrolment, "en-7")
    (shown,) = (await enrolment.ListTokens(pb.ListTokensRequest(device_id="en-7"))).tokens
    await enrolment.DeleteToken(pb.DeleteTokenRequest(token_id=shown.id))
    assert (await enrol(text, new_key())).refused.code == ep.ENROL_REFUSED_CODE_TOKEN_UNKNOWN
    assert (await refused(enrolment.DeleteToken(pb.DeleteTokenRequest(token_id=shown.id))))[1] == "TOKEN_NOT_FOUND"


async def test_request_for_another_name_or_weak_key_is_refused(enrolment: Any) -> None:
    text = await token(enrolment, "en-8")
    assert (await enrol(text, new_key(), name="en-1")).refused.code == ep.ENROL_REFUSED_CODE_MALFORMED
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    assert (await enrol(text, weak)).refused.code == ep.ENROL_REFUSED_CODE_MALFORMED
    assert (await enrol(text, ec.generate_private_key(ec.SECP384R1()))).refused.code == ep.ENROL_REFUSED_CODE_MALFORMED
    assert (await enrol(text, new_key())).HasField("granted"), "refused requests do not consume the token"


async def test_request_with_foreign_key_is_not_signed(enrolment: Any) -> None:
    """A request with an invalid self-signature does not prove possession of its key."""
    text, asked = await token(enrolment, "en-9"), bytearray(request(new_key(), "en-9"))
    asked[-1] ^= 1
    body = ep.EnrolRequest(secret=text.secret, device_id="en-9", certificate_request=bytes(asked)).SerializeToString()
    answer = ep.EnrolResponse.FromString((await talk(text, framed(body)))[1:])
    assert answer.refused.code == ep.ENROL_REFUSED_CODE_MALFORMED


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"\xff\xff\xff\x01",
        framed(b"\xff" * 20),
        framed(b""),
        framed(ep.EnrolRequest(device_id="Not an id").SerializeToString()),
        framed(ep.EnrolRequest(device_id="en-10", secret="x" * 44).SerializeToString()),
        framed(ep.EnrolRequest(device_id="en-10", secret="x", certificate_request=b"y" * 1025).SerializeToString()),
        framed(ep.EnrolRequest(device_id="en-10", secret="x", certificate_request=b"y" * 10).SerializeToString()),
    ],
)
async def test_malformed_certificate_request_is_refused(enrolment: Any, data: bytes) -> None:
    answer = await talk(await token(enrolment, "en-10"), data)
    refused_ = ep.EnrolResponse.FromString(answer[1 if answer[0] < 0x80 else 2 :]).refused
    assert refused_.code == ep.ENROL_REFUSED_CODE_MALFORMED
    assert refused_.message


@pytest.mark.parametrize("alpn", ["h2", "einherjar/1"])
async def test_enrolment_port_serves_no_other_protocol(enrolment: Any, alpn: str) -> None:
    text = await token(enrolment, "en-11")
    assert await talk(text, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", alpn) == b""


async def test_a_suspended_device_gets_neither_token_nor_certificate(
    enrolment: Any, service: ServiceProcess, pki: Pki
) -> None:
    text = await token(enrolment, "en-12")
    async with client(service.listen, pki) as channel:
        registry: Any = registry_pb2_grpc.RegistryServiceStub(channel)
        await registry.UpdateDevice(rp.UpdateDeviceRequest(device_id="en-12", state=rp.DEVICE_STATE_SUSPENDED))
    assert (await enrol(text, new_key())).refused.code == ep.ENROL_REFUSED_CODE_NOT_ACTIVE
    found = await refused(enrolment.CreateToken(pb.CreateTokenRequest(device_id="en-12")))
    assert found == (grpc.StatusCode.FAILED_PRECONDITION, "DEVICE_NOT_ACTIVE")


async def test_revocation_covers_only_earlier_certificates(enrolment: Any) -> None:
    text, key = await token(enrolment, "en-13"), new_key()
    before = (await enrol(text, key)).granted
    device = (await enrolment.RevokeCertificates(pb.RevokeCertificatesRequest(device_id="en-13"))).device
    revoked = device.revoke_time.ToDatetime(dt.UTC)
    after = (await enrol(await token(enrolment, "en-13"), new_key())).granted
    old, new = (x509.load_pem_x509_certificates(g.certificate_chain)[0] for g in (before, after))
    assert old.not_valid_before_utc < revoked <= new.not_valid_before_utc
    again = (await enrolment.RevokeCertificates(pb.RevokeCertificatesRequest(device_id="en-13"))).device
    assert new.not_valid_before_utc < again.revoke_time.ToDatetime(dt.UTC)


async def test_a_revocation_on_a_stale_revision_is_aborted(enrolment: Any) -> None:
    await token(enrolment, "en-14")
    stale = pb.RevokeCertificatesRequest(device_id="en-14", revision=1)
    assert await refused(enrolment.RevokeCertificates(stale)) == (grpc.StatusCode.ABORTED, "STALE_REVISION")


async def test_no_service_makes_tokens_or_revokes(service: ServiceProcess, pki: Pki) -> None:
    async with client(service.listen, pki, "service", "loki") as channel:
        stub: Any = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
        for call in (
            stub.CreateToken(pb.CreateTokenRequest(device_id="en-18")),
            stub.ListTokens(pb.ListTokensRequest()),
            stub.RevokeCertificates(pb.RevokeCertificatesRequest(device_id="en-1")),
        ):
            assert (await refused(call))[0] is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("ttl_s", [1, 59, 2_592_001])
async def test_a_time_to_live_out_of_bounds_is_refused(enrolment: Any, ttl_s: int) -> None:
    asked = pb.CreateTokenRequest(device_id="en-15", ttl_s=ttl_s)
    assert (await refused(enrolment.CreateToken(asked)))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_no_secret_is_kept(enrolment: Any, nats_server: NatsServer, pki: Pki) -> None:
    text = await token(enrolment, "en-16")
    files = pki.files("service", "registry")
    async with chassis_nats.connect(nats_server.url, files, "registry") as connection:
        js = chassis_nats.jetstream(connection.client)
        token_id = hashlib.sha256(text.secret.encode()).hexdigest()[:32]
        stored = await js.get_last_msg("KV_enrolment_tokens", f"$KV.enrolment_tokens.{token_id}")
    assert stored.data is not None
    assert b"en-16" in stored.data
    assert text.secret.encode() not in stored.data


async def test_revocation_works_without_the_device_ca_key(nats_server: NatsServer, pki: Pki, tmp_path: Any) -> None:
    with starter(pki) as start:
        process = start("registry", nats_url=nats_server.url, data_dir=tmp_path)
        async with client(process.listen, pki) as channel:
            stub: Any = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
            found = await refused(stub.CreateToken(pb.CreateTokenRequest(device_id="en-17")))
            assert found == (grpc.StatusCode.FAILED_PRECONDITION, "ENROLMENT_OFF")
            revoke = pb.RevokeCertificatesRequest(device_id="en-17")
            assert (await refused(stub.RevokeCertificates(revoke)))[1] == "DEVICE_NOT_FOUND"
