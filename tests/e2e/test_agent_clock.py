"""The real agent on a device with a wrong clock reports the clock, not an untrusted mesh."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.fakes.board import AGENT, Agent
from tests.fixtures.mesh import Mesh, client
from tests.fixtures.wait import eventually
from yggdrasil.registry.v1 import enrolment_pb2 as pb
from yggdrasil.registry.v1 import enrolment_pb2_grpc

SOURCE = Path(__file__).resolve().parents[1] / "fixtures" / "shifted_clock.c"
IN_1970, IN_2100 = 3600, 4_102_444_800
BEHIND = "certificate is not yet valid by this device's clock, which is behind: set the clock"
AHEAD = "certificate has expired by this device's clock: set the clock if it is ahead"
SHIFTS = pytest.mark.parametrize(("seconds", "advice"), [(IN_1970, BEHIND), (IN_2100, AHEAD)], ids=["1970", "2100"])
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("clock") / "shifted_clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


@SHIFTS
async def test_agent_with_a_wrong_clock_is_advised_to_set_it(
    mesh: Mesh, shifted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, advice: str
) -> None:
    identity = mesh.pki.directory("device", mesh.one)
    with monkeypatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(shifted))
        patch.setenv("CLOCK_SECONDS", str(seconds))
        agent = Agent.one(mesh.one, mesh.processes.endpoint("link"), identity, tmp_path)
    try:
        await eventually(lambda: advice in agent.log(), 30, "the advice")
        assert "does not lead to --ca" not in agent.log()
    finally:
        agent.stop()


@SHIFTS
async def test_enrolment_with_a_wrong_clock_is_advised_to_set_it(
    mesh: Mesh, shifted: Path, tmp_path: Path, seconds: int, advice: str
) -> None:
    async with client(mesh.processes.endpoint("registry"), mesh.pki) as channel:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
        token = (await stub.CreateToken(pb.CreateTokenRequest(device_id=mesh.one), timeout=20)).secret
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(  # noqa: ASYNC220 - it is not waited for
            [AGENT, f"--identity={tmp_path / 'identity'}", f"--connect={mesh.processes.endpoint('link')}"],
            env={
                **os.environ,
                "YGG_AGENT_TOKEN": token,
                "LD_PRELOAD": str(shifted),
                "CLOCK_SECONDS": str(seconds),
            },
            stderr=stream,
        )
    try:
        await eventually(lambda: advice in log.read_text(), 30, "the advice")
    finally:
        process.kill()
        process.wait()
