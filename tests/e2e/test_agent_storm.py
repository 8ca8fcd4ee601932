"""A fleet that has lost its bridge reconnects spread over time: the control socket's `spread` shows the times."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fakes.board import Agent
from tests.fixtures.mesh import Mesh
from tests.fixtures.wait import eventually

DEVICES = 60


def _steps(agent: Agent) -> list[tuple[int, int, int]]:
    """Return start in milliseconds, attempts and contracts of each 100 ms of the last storm."""
    lines = [line.split() for line in agent.lines("spread")]
    return [(int(at), int(tried.split("=")[1]), int(got.split("=")[1])) for at, tried, got in lines]


@pytest.mark.timeout(150)
async def test_a_fleet_comes_back_spread_over_its_backoff(own_mesh: Mesh, tmp_path: Path) -> None:
    mesh = own_mesh
    ids = [f"storm-{number}" for number in range(1, DEVICES + 1)]
    identities = {mesh.pki.directory("device", device_id).parent for device_id in ids}.pop()
    agent = Agent.fleet("storm", DEVICES, mesh.processes.endpoint("link"), identities, tmp_path)
    try:
        await eventually(agent.active, 40, "all active")
        assert sum(got for _, _, got in _steps(agent)) == DEVICES  # the start counts as a storm
        mesh.processes.running["jotunheim_bridge"].kill()
        await eventually(lambda: "active" not in agent.states(), 10)
        await asyncio.to_thread(mesh.processes.start, "jotunheim_bridge")
        await eventually(agent.active, 40, "all back")
        steps = _steps(agent)
    finally:
        agent.stop()
    print("\n" + "\n".join(f"{at:6} ms {tried:3} tried {got:3} back {'#' * got}" for at, tried, got in steps))
    assert sum(got for _, _, got in steps) == DEVICES
    tries = sum(tried for _, tried, _ in steps)
    assert tries > 2 * DEVICES  # the outage was longer than the first attempt
    assert max(tried for _, tried, _ in steps[5:]) < DEVICES / 2
    assert len([at for at, _, got in steps if got]) >= 4
