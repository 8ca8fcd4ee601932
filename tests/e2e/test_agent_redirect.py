"""The real agent follows the redirect of a Goodbye, and returns home if that bridge does not answer either."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.board import Agent
from tests.fixtures.mesh import Mesh
from tests.fixtures.wait import eventually, free_ports
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb


async def _bridge_of(mesh: Mesh) -> str:
    """Return the bridge with the device's session, according to the first bridge."""
    session = await mesh.bridge.GetSession(pb.GetSessionRequest(device_id=mesh.one), timeout=5)
    return str(session.session.bridge_id)


@pytest.mark.timeout(90)
async def test_agent_follows_redirect_and_returns_when_bridge_is_gone(own_mesh: Mesh, tmp_path: Path) -> None:
    away = f"127.0.0.1:{free_ports(1)[0]}"
    mesh, second = own_mesh, own_mesh.processes.start_another_bridge(link_listen=away, link_advertise=away)
    home = mesh.processes.endpoint("link")
    agent = Agent.one(mesh.one, home, mesh.pki.directory("device", mesh.one), tmp_path)
    try:
        await eventually(agent.active, 20, agent.log())
        assert "first_ms=" in agent.ask("list")

        assert mesh.processes.running["jotunheim_bridge"].terminate() == 0
        await eventually(lambda: f"address={away}" in agent.log() and agent.active(), 20, agent.log())
        assert f"reconnect_to={away}" in agent.log()
        storm = agent.lines("spread")
        assert sum(int(line.split("contracts=")[1]) for line in storm) == 1, storm

        mesh.processes.start("jotunheim_bridge")
        second.kill()
        await eventually(lambda: "sessions=3 " in agent.ask("list") and agent.active(), 20, agent.log())
        assert agent.log().count(f"event=connecting address={home}") >= 2
        assert await _bridge_of(mesh) == mesh.processes.running["jotunheim_bridge"].ready()["bridge"]
    finally:
        agent.stop()
