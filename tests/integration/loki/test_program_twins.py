"""Programs in the twins of devices, with the real loki and registry: every deployment shows, running or not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.fixtures.mesh import Mesh, Processes, client
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess, StartService
from tests.fixtures.wait import eventually
from tests.integration.loki.programs import Programs, start_loki
from tests.integration.loki.test_program_command import Command
from yggdrasil.loki.v1 import program_pb2 as pb
from yggdrasil.registry.v1 import registry_pb2 as rp
from yggdrasil.registry.v1 import twin_pb2 as tp
from yggdrasil.registry.v1 import twin_pb2_grpc

RUNNING, STOPPED = tp.TWIN_PROGRAM_STATE_RUNNING, tp.TWIN_PROGRAM_STATE_STOPPED
REFUSED = tp.TWIN_PROGRAM_STATE_REFUSED


class Twins:
    """A user's client of the TwinService."""

    def __init__(self, channel: Any) -> None:
        self.stub: Any = twin_pb2_grpc.TwinServiceStub(channel)

    async def until(self, device: str, expected: Callable[[list[tp.TwinProgram]], bool]) -> list[tp.TwinProgram]:
        """Return the programs of a device as soon as they satisfy `expected`."""

        async def check() -> list[list[tp.TwinProgram]]:
            found = list((await self.stub.GetTwin(tp.GetTwinRequest(device_id=device))).twin.programs)
            assert expected(found), found
            return [found]

        programs: list[list[tp.TwinProgram]] = await eventually(check, 20)
        return programs[0]

    async def states(self, device: str, **states: Any) -> list[tp.TwinProgram]:
        """Wait until a device has exactly these programs in these states."""
        return await self.until(device, lambda found: {one.deployment_id: one.state for one in found} == states)


@pytest_asyncio.fixture
async def twins(shared_processes: Processes, pki: Pki) -> AsyncIterator[Twins]:
    async with client(shared_processes.endpoint("registry"), pki) as channel:
        yield Twins(channel)


async def test_deployment_to_a_selector_shows_in_each_twin(programs: Programs, mesh: Mesh, twins: Twins) -> None:
    zone = f"z{mesh.one[-8:]}"
    for name in (mesh.one, mesh.two):
        await mesh.registry.RegisterDevice(rp.RegisterDeviceRequest(device_id=name, labels={"zone": zone}))
    device = await mesh.device(mesh.one)
    await device.negotiate()
    await programs.load("glow", "x = 1", requires=["actuator.led@1+"])
    await programs.deploy("glow", selector=f"zone={zone}")
    runs = (await twins.states(mesh.one, glow=RUNNING))[0]
    assert (runs.program_id, runs.desired_version, runs.reported_version) == ("glow", "1.0.0", "1.0.0")
    assert (runs.desired_running, runs.pending) == (True, False)
    refused = (await twins.states(mesh.two, glow=REFUSED))[0]  # it has never connected
    assert (refused.reported_version, refused.pending) == ("", True)
    assert "no contract" in refused.problem
    device.vanish()
    await programs.stub.StopProgram(pb.StopProgramRequest(deployment_id="glow"))
    stopped = (await twins.states(mesh.one, glow=STOPPED))[0]  # offline, and shown all the same
    assert (stopped.desired_running, stopped.pending) == (False, False)
    await programs.stub.UnloadProgram(pb.UnloadProgramRequest(deployment_id="glow"))
    await twins.states(mesh.one)
    await twins.states(mesh.two)


async def test_trial_version_is_the_desired_one_on_its_devices(programs: Programs, mesh: Mesh, twins: Twins) -> None:
    device = await mesh.device(mesh.one)
    await device.negotiate()
    await programs.load("rolls", "x = 1")
    await programs.load("rolls", "x = 2", version="1.1.0")
    await programs.deploy("rolls", device_id=mesh.one, version="1.0.0")
    await twins.states(mesh.one, rolls=RUNNING)
    request = pb.StartRolloutRequest(deployment_id="rolls", version="1.1.0", share_percent=100)
    await programs.stub.StartRollout(request)
    found = await twins.until(mesh.one, lambda found: found[0].reported_version == "1.1.0")
    assert found[0].desired_version == "1.1.0"


async def test_registry_and_loki_converge_after_outages(
    start_service: StartService, own_mesh: Mesh, pki: Pki, scheme_cache: Path
) -> None:
    process = await asyncio.to_thread(start_loki, start_service, own_mesh.processes, scheme_cache)
    programs, channel = Programs.of(process, pki)
    device = await own_mesh.device()
    await device.negotiate()
    for name in ("stays", "goes"):
        await programs.load(name, "x = 1")
        await programs.deploy(name, device_id=own_mesh.one)
    async with client(own_mesh.processes.endpoint("registry"), pki) as registry:
        twins = Twins(registry)
        await twins.states(own_mesh.one, stays=RUNNING, goes=RUNNING)
        second = await asyncio.to_thread(
            start_loki, start_service, own_mesh.processes, scheme_cache, instance_id="second"
        )
        process.kill()
        others, other_channel = Programs.of(second, pki)
        await others.stub.UnloadProgram(pb.UnloadProgramRequest(deployment_id="goes"))
        await twins.states(own_mesh.one, stays=RUNNING)
        await others.stub.StopProgram(pb.StopProgramRequest(deployment_id="stays"))
        await twins.states(own_mesh.one, stays=STOPPED)
        await other_channel.close()
    await channel.close()


async def test_twin_get_shows_programs_and_set_names_deploy_command(
    loki_process: ServiceProcess,
    programs: Programs,
    mesh: Mesh,
    twins: Twins,
    pki: Pki,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = await mesh.device(mesh.one)
    await device.negotiate()
    await programs.load("shown", "x = 1")
    await programs.deploy("shown", device_id=mesh.one)
    await twins.states(mesh.one, shown=RUNNING)
    monkeypatch.setenv("YGG_HOME", str(tmp_path / "home"))
    ygg = Command(tmp_path)
    words = ["--registry", mesh.processes.endpoint("registry"), "--loki", loki_process.listen]
    words += [
        "--bridge",
        mesh.processes.endpoint("jotunheim_bridge"),
        "--identity",
        str(pki.directory("user", "operator")),
    ]

    def run() -> list[Any]:
        assert ygg("context", "set", "test", *words).returncode == 0
        assert ygg("context", "use", "test").returncode == 0
        return [
            ygg("twin", "get", mesh.one),
            ygg("twin", "get", mesh.one, "--json"),
            ygg("twin", "set", mesh.one, "programs.shown=2.0.0"),
            ygg("twin", "set", mesh.one, "programs"),
        ]

    shown, as_json, *refused = await asyncio.to_thread(run)
    assert ["shown", "1.0.0", "1.0.0", "running"] in [line.split() for line in shown.stdout.splitlines()]
    found = json.loads(as_json.stdout)["programs"]
    assert [(one["deployment_id"], one["state"], one["pending"]) for one in found] == [("shown", "running", False)]
    for done in refused:
        assert done.returncode != 0
        assert "ygg program deploy" in done.stderr
