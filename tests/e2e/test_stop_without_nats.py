"""A service stops on SIGTERM during a NATS outage."""

from __future__ import annotations

import os
import signal

import pytest

from tests.fixtures.mesh import Mesh


@pytest.mark.parametrize("name", ["jotunheim_bridge", "registry"])
async def test_sigterm_ends_a_service_although_nats_is_gone(own_mesh: Mesh, name: str) -> None:
    mesh = own_mesh
    device = await mesh.device()
    await device.negotiate()
    process = mesh.processes.running[name]
    mesh.processes.nats.kill()
    os.kill(process.pid, signal.SIGTERM)
    process.wait(within_s=25)
    assert [line["msg"] for line in process.log()].count("stopping") == 1
    mesh.processes.nats.start()
