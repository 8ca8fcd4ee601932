"""The real agent's certificate is renewed over its link before it expires, in spite of failures."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.fakes.board import Agent
from tests.fixtures.mesh import Mesh
from tests.fixtures.wait import eventually
from yggdrasil.jotunheim.v1 import bridge_pb2 as bp
from yggdrasil.registry.v1 import registry_pb2 as rp

SOURCE = Path(__file__).resolve().parents[1] / "fixtures" / "cut_power.c"
pytestmark = pytest.mark.timeout(120)


def serial(directory: Path) -> int:
    return x509.load_pem_x509_certificates((directory / "cert.pem").read_bytes())[0].serial_number


def start(mesh: Mesh, identity: Path, directory: Path) -> Agent:
    return Agent.one(mesh.one, mesh.processes.endpoint("link"), identity, directory)


async def expires(mesh: Mesh) -> float:
    device: Any = (await mesh.registry.GetDevice(rp.GetDeviceRequest(device_id=mesh.one), timeout=5)).device
    return float(device.certificate_expire_time.seconds)


async def test_agent_renews_and_reconnects_with_new_certificate(mesh: Mesh, tmp_path: Path) -> None:
    identity = mesh.pki.ending("device", mesh.one, 10).directory
    old = x509.load_pem_x509_certificates((identity / "cert.pem").read_bytes())
    agent = start(mesh, identity, tmp_path)
    try:
        await eventually(lambda: "event=certificate_renewed" in agent.log(), 30, agent.log())
        assert agent.active(), "the link goes on"
        new = x509.load_pem_x509_certificates((identity / "cert.pem").read_bytes())
        assert new[0].serial_number != old[0].serial_number and new[1] == old[1]
        assert new[0].public_key() == old[0].public_key()
        assert new[0].not_valid_after_utc > old[0].not_valid_after_utc

        async def known(end: float) -> bool:
            return await expires(mesh) == end

        await eventually(lambda: known(old[0].not_valid_after_utc.timestamp()), 15, "the session with the old one")
        await mesh.bridge.Disconnect(bp.DisconnectRequest(device_id=mesh.one), timeout=5)  # the same process reconnects
        await eventually(lambda: known(new[0].not_valid_after_utc.timestamp()), 30, agent.log())
        await eventually(agent.active, 15, agent.log())
        assert agent.log().count("event=certificate_renewed") == 1, "the new one lasts"
        assert agent.stop() == 0
        agent = start(mesh, identity, tmp_path)
        await eventually(agent.active, 30, agent.log())
        assert agent.log().count("event=certificate_renewed") == 1
    finally:
        agent.stop()


async def test_agent_keeps_a_lasting_certificate(mesh: Mesh, tmp_path: Path) -> None:
    identity = mesh.pki.ending("device", mesh.one, 170).directory
    before = serial(identity)
    agent = start(mesh, identity, tmp_path)
    try:
        await eventually(agent.active, 30, agent.log())
        assert serial(identity) == before
    finally:
        agent.stop()
    assert "certificate_" not in agent.log()


async def test_agent_keeps_old_certificate_when_storing_fails(mesh: Mesh, tmp_path: Path) -> None:
    identity = mesh.pki.ending("device", mesh.one, 10).directory
    before = serial(identity)
    (identity / "cert.pem.new").mkdir()  # not writable
    agent = start(mesh, identity, tmp_path)
    try:
        await eventually(lambda: "event=certificate_rejected" in agent.log(), 30, agent.log())
        assert agent.active() and serial(identity) == before
    finally:
        agent.stop()


@pytest.fixture(scope="module")
def cutter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("cut") / "cut_power.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


@pytest.mark.parametrize(
    ("step", "is_new"),
    [("write", False), ("fsync", False), ("rename", False), ("directory", True), ("after", True)],
)
async def test_power_cut_leaves_old_or_new_certificate(
    mesh: Mesh, cutter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, is_new: bool
) -> None:
    identity = mesh.pki.ending("device", mesh.one, 10).directory
    before = serial(identity)
    with monkeypatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(cutter))
        patch.setenv("CUT_AT", step)
        agent = start(mesh, identity, tmp_path)
    await eventually(lambda: agent.process.poll() is not None, 30, "the power cut")
    assert agent.process.returncode == 77, agent.log()
    assert (serial(identity) != before) is is_new
    agent = start(mesh, identity, tmp_path)
    try:
        await eventually(agent.active, 30, agent.log())
        if not is_new:
            await eventually(lambda: "event=certificate_renewed" in agent.log(), 30, agent.log())
        assert serial(identity) != before
    finally:
        agent.stop()
