"""The real agent enrols at the real registry and uses its certificate until that is revoked."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.board import AGENT, Agent
from tests.fixtures.mesh import Mesh, client
from tests.fixtures.wait import eventually
from ygg.pki.identities import leaf_of
from ygg.pki.store import utc_now
from yggdrasil.common.v1 import value_pb2
from yggdrasil.jotunheim.v1 import bridge_pb2 as bp
from yggdrasil.registry.v1 import enrolment_pb2 as pb
from yggdrasil.registry.v1 import enrolment_pb2_grpc


@pytest.fixture
async def enrolling(mesh: Mesh) -> AsyncIterator[tuple[Mesh, Any]]:
    """A mesh and its EnrolmentService."""
    async with client(mesh.processes.endpoint("registry"), mesh.pki) as registry:
        yield mesh, enrolment_pb2_grpc.EnrolmentServiceStub(registry)


async def token(enrolment: Any, device_id: str) -> str:
    return str((await enrolment.CreateToken(pb.CreateTokenRequest(device_id=device_id), timeout=20)).secret)


def start(mesh: Mesh, text: str, directory: Path) -> Agent:
    options = [f"--identity={directory / 'identity'}", f"--enrol={text}"]
    return Agent(mesh.one, mesh.processes.endpoint("link"), directory, *options)


@pytest.mark.timeout(120)
async def test_a_token_makes_a_device_of_the_mesh(enrolling: tuple[Mesh, Any], tmp_path: Path) -> None:
    mesh, enrolment = enrolling
    text = await token(enrolment, mesh.one)
    agent = start(mesh, text, tmp_path)
    try:
        await eventually(agent.active, 30, agent.log())
        value = value_pb2.Value(bool=True)
        await mesh.bridge.WriteProperty(
            bp.WritePropertyRequest(device_id=mesh.one, capability="led0", property="on", value=value), timeout=5
        )
        assert agent.get("led0.on") == "on"
        used = (await enrolment.ListTokens(pb.ListTokensRequest(device_id=mesh.one))).tokens[0]
        assert used.HasField("use_time") and used.serial

        assert agent.stop() == 0
        agent = start(mesh, text, tmp_path)  # the certificate exists: no second enrolment
        await eventually(agent.active, 30, agent.log())
        assert agent.log().count("event=enrolling") == 1

        await enrolment.RevokeCertificates(pb.RevokeCertificatesRequest(device_id=mesh.one))
        await eventually(lambda: not agent.active(), 15, "the session ends")
        agent.stop()
        agent = start(mesh, await token(enrolment, mesh.one), tmp_path)  # a new token replaces the revoked certificate
        await eventually(agent.active, 30, agent.log())
    finally:
        agent.stop()


@pytest.mark.timeout(60)
async def test_token_used_by_another_key_is_refused(enrolling: tuple[Mesh, Any], tmp_path: Path) -> None:
    mesh, enrolment = enrolling
    text = await token(enrolment, mesh.one)
    agent = start(mesh, text, tmp_path)
    try:
        await eventually(agent.active, 30, agent.log())
    finally:
        agent.stop()
    thief = tmp_path / "thief"
    command = [str(AGENT), f"--identity={thief}", "--connect=127.0.0.1:1"]
    process = await asyncio.create_subprocess_exec(
        *command, stderr=asyncio.subprocess.PIPE, env={**os.environ, "YGG_AGENT_TOKEN": text}
    )
    async with asyncio.timeout(20):
        said = (await process.communicate())[1].decode()
    assert process.returncode == 1
    assert "Another key has used this token" in said
    assert [path.name for path in thief.iterdir()] == ["key.pem"]


@pytest.mark.timeout(120)
async def test_agent_with_expired_certificate_enrols_again(enrolling: tuple[Mesh, Any], tmp_path: Path) -> None:
    mesh, enrolment = enrolling
    identity = tmp_path / "identity"
    shutil.copytree(mesh.pki.expired("device", mesh.one).directory, identity)
    agent = start(mesh, await token(enrolment, mesh.one), tmp_path)
    try:
        await eventually(agent.active, 30, agent.log())
    finally:
        agent.stop()
    assert leaf_of(identity).not_valid_after_utc > utc_now()


@pytest.mark.timeout(120)
async def test_failed_token_keeps_a_valid_certificate_in_use(enrolling: tuple[Mesh, Any], tmp_path: Path) -> None:
    mesh, enrolment = enrolling
    identity = tmp_path / "identity"
    shutil.copytree(mesh.pki.directory("device", mesh.one), identity)
    before = (identity / "cert.pem").read_bytes()
    text = await token(enrolment, mesh.one)
    (one,) = (await enrolment.ListTokens(pb.ListTokensRequest(device_id=mesh.one))).tokens
    await enrolment.DeleteToken(pb.DeleteTokenRequest(token_id=one.id))
    agent = start(mesh, text, tmp_path)
    try:
        await eventually(agent.active, 30, agent.log())
        assert "continuing with the existing certificate" in agent.log()
    finally:
        agent.stop()
    assert (identity / "cert.pem").read_bytes() == before


async def test_a_token_of_another_device_leaves_an_identity_alone(enrolling: tuple[Mesh, Any], tmp_path: Path) -> None:
    mesh, enrolment = enrolling
    identity = tmp_path / "identity"
    shutil.copytree(mesh.pki.directory("device", mesh.two), identity)
    before = (identity / "cert.pem").read_bytes()
    process = await asyncio.create_subprocess_exec(
        *[str(AGENT), f"--identity={identity}", "--connect=127.0.0.1:1"],
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "YGG_AGENT_TOKEN": await token(enrolment, mesh.one)},
    )
    async with asyncio.timeout(20):
        said = (await process.communicate())[1].decode()
    assert process.returncode == 1
    assert "holds the identity of another device" in said
    assert (identity / "cert.pem").read_bytes() == before


@pytest.mark.timeout(60)
async def test_an_identity_with_a_byte_order_mark_and_crlf_is_read(mesh: Mesh, tmp_path: Path) -> None:
    identity = tmp_path / "identity"
    shutil.copytree(mesh.pki.directory("device", mesh.one), identity)
    for path in identity.glob("*.pem"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    agent = Agent.one(mesh.one, mesh.processes.endpoint("link"), identity, tmp_path)
    try:
        await eventually(agent.active, 30, agent.log())
    finally:
        agent.stop()
