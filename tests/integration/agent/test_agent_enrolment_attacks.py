"""The real agent enrols at hostile servers: it sends its secret only to the registry of the token's mesh."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.registry.adapters.signer import DeviceCa
from services.registry.model import PublicKey
from tests.fakes.board import AGENT
from tests.fakes.enrolment import SECRET, Answer, EnrolServer, enrol_server, framed
from tests.fixtures.pki import Pki
from tests.fixtures.wait import eventually
from yggdrasil.device.v1 import enrol_pb2 as pb

DEVICE = "porch-1"
NOWHERE = "127.0.0.1:1"


class Agent:
    """`ygg-agent` that enrols into `identity`; no bridge listens at its endpoint."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, identity: Path) -> None:
        self.process, self._log, self.identity = process, log, identity

    def said(self) -> str:
        """Return the log; check that it does not contain the secret."""
        text = self._log.read_text()
        assert SECRET not in text
        return text

    async def refused(self) -> str:
        """Wait until the agent fails without a certificate; return its log."""
        async with asyncio.timeout(20):
            assert await self.process.wait() == 1
        assert not (self.identity / "cert.pem").exists()
        return self.said()

    async def enrolled(self) -> Path:
        """Wait until the agent has its certificate and dials its bridge; return the identity directory."""
        await eventually(lambda: f"event=connecting address={NOWHERE}" in self.said(), 20, self.said())
        return self.identity


@contextlib.asynccontextmanager
async def agent(token: str, directory: Path, *options: str) -> AsyncIterator[Agent]:
    log, identity = directory / "agent.log", directory / DEVICE
    arguments = [
        f"--identity={identity}",
        f"--connect={NOWHERE}",
        "--backoff-min-ms=50",
        "--backoff-max-ms=200",
        *options,
    ]
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            AGENT, *arguments, stderr=stderr, env={**os.environ, "YGG_AGENT_TOKEN": token}
        )
    try:
        yield Agent(process, log, identity)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def signer(pki: Pki) -> DeviceCa:
    found = DeviceCa.load(pki.files("service", "registry"))
    assert found is not None
    return found


def grant(pki: Pki, device_id: str = DEVICE, key: ec.EllipticCurvePrivateKey | None = None) -> Answer:
    """Return an answer that signs the request, or a certificate for another device or key."""

    def answer(request: pb.EnrolRequest) -> bytes:
        ca, now = signer(pki), dt.datetime.now(dt.UTC)
        public = ca.key_of(request.certificate_request, request.device_id)
        if key is not None:
            encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            public = PublicKey(key.public_key().public_bytes(encoding, form), b"")
        granted = ca.sign(public, device_id, now, None)
        return framed(
            pb.EnrolResponse(
                granted=pb.EnrolGranted(certificate_chain=granted.certificate_chain, service_ca=granted.services)
            )
        )

    return answer


def refuse(code: pb.EnrolRefusedCode.ValueType, message: str = "no", retry_after_ms: int = 0) -> bytes:
    return framed(pb.EnrolResponse(refused=pb.EnrolRefused(code=code, message=message, retry_after_ms=retry_after_ms)))


def shown(pki: Pki, name: str, directory: Path) -> tuple[bytes, Path]:
    """Return the chain of a service up to the root, and a readable copy of its key."""
    identity = pki.directory("service", name)
    key = directory / f"{name}.key"
    shutil.copy(identity / "key.pem", key)
    return (identity / "cert.pem").read_bytes() + pem(pki.store.root()), key


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@contextlib.asynccontextmanager
async def registry(pki: Pki, directory: Path, answer: Answer) -> AsyncIterator[EnrolServer]:
    async with enrol_server(*shown(pki, "registry", directory), answer) as server:
        yield server


async def test_an_agent_gets_its_certificate_and_its_key_stays_its_own(pki: Pki, tmp_path: Path) -> None:
    async with registry(pki, tmp_path, grant(pki)) as server, agent(server.token(pki, DEVICE), tmp_path) as device:
        identity = await device.enrolled()
        assert (identity.stat().st_mode & 0o777, (identity / "key.pem").stat().st_mode & 0o777) == (0o700, 0o600)
        leaf, issuer = x509.load_pem_x509_certificates((identity / "cert.pem").read_bytes())
        encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        assert leaf.public_key().public_bytes(encoding, form) == server.keys()[0]
        leaf.verify_directly_issued_by(issuer)
        assert (identity / "services.pem").read_bytes() == (
            pki.directory("device", "other") / "services.pem"
        ).read_bytes()
        assert sorted(path.name for path in identity.iterdir()) == [
            "cert.pem",
            "key.pem",
            "services.pem",
            "token.sha256",
        ]
        assert (server.requests[0].secret, server.requests[0].device_id) == (SECRET, DEVICE)


async def test_a_token_is_not_used_twice(pki: Pki, tmp_path: Path) -> None:
    async with registry(pki, tmp_path, grant(pki)) as server:
        async with agent(server.token(pki, DEVICE), tmp_path) as device:
            await device.enrolled()
        async with agent(server.token(pki, DEVICE), tmp_path) as device:
            await eventually(lambda: "already holds the certificate of this token" in device.said(), 20)
            await eventually(lambda: device.said().count(f"event=connecting address={NOWHERE}") > 1, 20)
        assert server.connections == 1


async def test_server_with_another_root_receives_no_secret(pki: Pki, other_pki: Pki, tmp_path: Path) -> None:
    async with (
        registry(other_pki, tmp_path, grant(other_pki)) as server,
        agent(server.token(pki, DEVICE), tmp_path) as device,
    ):
        assert "does not have the root certificate of the token" in await device.refused()
        assert server.received == 0


async def test_the_right_root_beside_a_wrong_chain_is_not_enough(pki: Pki, other_pki: Pki, tmp_path: Path) -> None:
    chain, key = shown(other_pki, "registry", tmp_path)
    async with (
        enrol_server(chain + pem(pki.store.root()), key, grant(other_pki)) as server,
        agent(server.token(pki, DEVICE), tmp_path) as device,
    ):
        assert "does not lead to the root" in await device.refused()
        assert server.received == 0


async def test_a_chain_without_its_root_is_not_enough(pki: Pki, tmp_path: Path) -> None:
    key = shown(pki, "registry", tmp_path)[1]
    chain = (pki.directory("service", "registry") / "cert.pem").read_bytes()
    async with (
        enrol_server(chain, key, grant(pki)) as server,
        agent(server.token(pki, DEVICE), tmp_path) as device,
    ):
        assert "does not have the root certificate" in await device.refused()
        assert server.received == 0


async def test_another_service_of_the_same_mesh_hears_no_secret(pki: Pki, tmp_path: Path) -> None:
    async with (
        enrol_server(*shown(pki, "loki", tmp_path), grant(pki)) as server,
        agent(server.token(pki, DEVICE), tmp_path) as device,
    ):
        assert "is not the registry" in await device.refused()
        assert server.received == 0


async def test_registry_with_expired_certificate_receives_no_secret(pki: Pki, tmp_path: Path) -> None:
    identity = pki.expired("service", "registry").directory
    key = tmp_path / "expired.key"
    shutil.copy(identity / "key.pem", key)
    chain = (identity / "cert.pem").read_bytes() + pem(pki.store.root())
    async with enrol_server(chain, key, grant(pki)) as server, agent(server.token(pki, DEVICE), tmp_path) as device:
        assert "has expired by this device's clock" in await device.refused()
        assert server.received == 0


async def test_a_port_that_speaks_something_else_hears_no_secret(pki: Pki, tmp_path: Path) -> None:
    async with (
        enrol_server(*shown(pki, "registry", tmp_path), grant(pki), alpn="h2") as server,
        agent(server.token(pki, DEVICE), tmp_path) as device,
    ):
        assert "does not speak einherjar-enrol/1" in await device.refused()
        assert server.received == 0


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"\xff\xff\x03" + bytes(64), id="oversized"),
        pytest.param(b"\x80\x80\x80\x01", id="length-of-4-bytes"),
        pytest.param(b"\x00", id="empty"),
        pytest.param(b"\x05hello", id="no-protobuf"),
        pytest.param(
            framed(pb.EnrolResponse(granted=pb.EnrolGranted(certificate_chain=bytes(3073)))), id="chain-too-long"
        ),
    ],
)
async def test_invalid_response_is_not_stored(pki: Pki, tmp_path: Path, answer: bytes) -> None:
    async with (
        registry(pki, tmp_path, lambda _: answer) as server,
        agent(server.token(pki, DEVICE), tmp_path) as device,
    ):
        assert "too long or not an EnrolResponse" in await device.refused()


async def test_empty_response_is_not_stored(pki: Pki, tmp_path: Path) -> None:
    answer = b"\x03\x92\x06\x00"  # an unknown field
    async with (
        registry(pki, tmp_path, lambda _: answer) as server,
        agent(server.token(pki, DEVICE), tmp_path) as device,
    ):
        assert "the response is empty" in await device.refused()


@pytest.mark.parametrize("chain", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
async def test_an_answer_without_certificates_is_not_kept(pki: Pki, tmp_path: Path, chain: bytes) -> None:
    answer = framed(pb.EnrolResponse(granted=pb.EnrolGranted(certificate_chain=chain, service_ca=chain)))
    async with (
        registry(pki, tmp_path, lambda _: answer) as server,
        agent(server.token(pki, DEVICE), tmp_path) as device,
    ):
        assert "lacks certificates; nothing was stored" in await device.refused()


async def test_a_certificate_for_another_key_is_not_kept(pki: Pki, tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    async with (
        registry(pki, tmp_path, grant(pki, key=other)) as server,
        agent(server.token(pki, DEVICE), tmp_path) as device,
    ):
        assert "is for another key" in await device.refused()


async def test_a_certificate_for_another_device_is_not_kept(pki: Pki, tmp_path: Path) -> None:
    async with (
        registry(pki, tmp_path, grant(pki, "porch-2")) as server,
        agent(server.token(pki, DEVICE), tmp_path) as device,
    ):
        assert "is not for device porch-1" in await device.refused()


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (pb.ENROL_REFUSED_CODE_MALFORMED, "to the same version"),
        (pb.ENROL_REFUSED_CODE_TOKEN_UNKNOWN, "ygg device token"),
        (pb.ENROL_REFUSED_CODE_TOKEN_USED, "ygg device revoke"),
        (pb.ENROL_REFUSED_CODE_TOKEN_EXPIRED, "ygg device token"),
        (pb.ENROL_REFUSED_CODE_NOT_ACTIVE, "ygg device show"),
        (pb.ENROL_REFUSED_CODE_UNSPECIFIED, "Try again later"),
    ],
)
async def test_refusal_ends_the_agent_with_advice(
    pki: Pki, tmp_path: Path, code: pb.EnrolRefusedCode.ValueType, advice: str
) -> None:
    async with (
        registry(pki, tmp_path, lambda _: refuse(code, "because\x1b[31m")) as server,
        agent(server.token(pki, DEVICE), tmp_path) as device,
    ):
        said = await device.refused()
        assert advice in said and "because\\x1b[31m" in said
        assert server.connections == 1


async def test_transient_failure_is_retried_with_the_same_key(pki: Pki, tmp_path: Path) -> None:
    answers = [
        refuse(pb.ENROL_REFUSED_CODE_UNAVAILABLE, "busy", 50),
        b"",  # the connection ends without an answer
        b"\x7f half an answer",
    ]
    last = grant(pki)

    def answer(request: pb.EnrolRequest) -> bytes:
        return answers.pop(0) if answers else last(request)

    async with registry(pki, tmp_path, answer) as server, agent(server.token(pki, DEVICE), tmp_path) as device:
        await device.enrolled()
        assert device.said().count("event=enrolment_failed") == 3
        assert len(server.requests) == 4 and len(set(server.keys())) == 1


async def test_killed_agent_retries_with_the_same_key(pki: Pki, tmp_path: Path) -> None:
    last, killed = grant(pki), asyncio.Event()

    def answer(request: pb.EnrolRequest) -> bytes:
        if not killed.is_set():
            killed.set()
            return b""
        return last(request)

    async with registry(pki, tmp_path, answer) as server:
        async with agent(server.token(pki, DEVICE), tmp_path, "--backoff-min-ms=60000", "--backoff-max-ms=60000"):
            await killed.wait()
        async with agent(server.token(pki, DEVICE), tmp_path) as device:
            await device.enrolled()
        assert len(server.requests) == 2 and len(set(server.keys())) == 1


async def test_an_agent_that_waits_for_its_registry_stops_on_sigterm(tmp_path: Path) -> None:
    token = f"ygg1.{DEVICE}.{SECRET}.{'A' * 43}@{NOWHERE}"
    async with agent(token, tmp_path) as device:
        await eventually(lambda: "event=enrolment_failed" in device.said(), 10)
        device.process.terminate()
        async with asyncio.timeout(5):
            assert await device.process.wait() == 0


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (["--id=porch-2"], "the token is for another device"),
        (["--count=2", "--identities=x"], "not with --count"),
        (["--ca=x"], "not with --identity"),
    ],
)
async def test_options_that_contradict_the_token_are_refused(tmp_path: Path, options: list[str], rule: str) -> None:
    token = f"ygg1.{DEVICE}.{SECRET}.{'A' * 43}@127.0.0.1:1"
    async with agent(token, tmp_path, *options) as device:
        assert await device.process.wait() == 2
        assert rule in device.said()
        assert not device.identity.exists()
