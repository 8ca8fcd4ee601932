"""Every example program on the real mesh, with the real agent's board: it does what its first line documents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.domain.values import Value
from tests.fakes.board import Agent
from tests.fixtures.mesh import Mesh, Processes
from tests.fixtures.pki import Pki
from tests.fixtures.process import ROOT, ServiceProcess, starter
from tests.fixtures.wait import eventually, until
from tests.integration.loki.programs import RUNNING, Programs, start_loki
from ygg import program_files
from yggdrasil.common.v1 import value_pb2
from yggdrasil.loki.v1 import program_pb2 as pb

EXAMPLES = ROOT / "examples" / "programs"
BOTH = pytest.mark.parametrize("suffix", ["lua", "scm"])


@pytest.fixture(scope="module")
def loki_process(
    shared_processes: Processes, pki: Pki, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    with starter(pki) as start:
        yield start_loki(start, shared_processes, tmp_path_factory.mktemp("scheme"))


@pytest_asyncio.fixture
async def programs(loki_process: ServiceProcess, pki: Pki) -> AsyncIterator[Programs]:
    caller, channel = Programs.of(loki_process, pki)
    yield caller
    await caller.unload_all()
    await channel.close()


@pytest.fixture
def agent(mesh: Mesh, tmp_path: Path) -> Iterator[Agent]:
    identity = mesh.pki.directory("device", mesh.one)
    found = Agent.one(mesh.one, mesh.processes.endpoint("link"), identity, tmp_path)
    until(found.active, what=found.log())
    yield found
    found.stop()


async def deployed(programs: Programs, mesh: Mesh, name: str, suffix: str, **arguments: Any) -> str:
    """Load an example, run it on the device, and return the id of its deployment."""
    package = program_files.package(EXAMPLES / f"{name}.{suffix}", program_id=f"{name}_{suffix}")
    await programs.stub.LoadProgram(pb.LoadProgramRequest(package=package), timeout=60)
    given = {key: value_pb2.Value(**value) for key, value in arguments.items()}
    target = {} if name == "fleet_sweep" else {"device_id": mesh.one}
    deployment = package.manifest.id
    await programs.deploy(deployment, arguments=given, **target)
    await programs.state(deployment, RUNNING)
    return deployment


def double(number: float) -> dict[str, float]:
    return {"double": number}


async def value(programs: Programs, name: str, lua: str, scheme: str) -> Value:
    return await programs.eval(name, lua if name.endswith("_lua") else scheme)


def test_every_example_is_in_both_languages() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.lua")}
    assert names == {path.stem for path in EXAMPLES.glob("*.scm")}
    assert len(names) >= 8


@BOTH
async def test_blink(programs: Programs, mesh: Mesh, agent: Agent, suffix: str) -> None:
    name = await deployed(programs, mesh, "blink", suffix, period_s=double(0.1))
    for expected in ("on", "off", "on"):
        await eventually(lambda expected=expected: agent.get("led0.on") == expected)  # type: ignore[misc]
    assert await programs.eval(name, "changes") >= 3  # type: ignore[operator]


@BOTH
async def test_sensor_monitor_alarms_again_after_cool_down(
    programs: Programs, mesh: Mesh, agent: Agent, suffix: str
) -> None:
    name = await deployed(
        programs, mesh, "sensor_monitor", suffix, every_s=double(0.1), limit=double(30), cool_down_s=double(0.5)
    )
    agent.set("temp0.celsius", 40)
    await programs.until(name, "alarms", 1)
    turns = (await programs.statistics(name)).turns

    async def five_more_turns() -> bool:
        return bool((await programs.statistics(name)).turns > turns + 5)

    await eventually(five_more_turns)
    assert await programs.eval(name, "alarms") == 1
    agent.set("temp0.celsius", 20)
    await programs.until(name, "warm", False)
    agent.set("temp0.celsius", 40)
    await programs.until(name, "alarms", 2)
    assert await value(programs, name, "store.load('alarms')", "(load 'alarms)") == 2


@BOTH
async def test_thermostat_follows_its_changeable_target(
    programs: Programs, mesh: Mesh, agent: Agent, suffix: str
) -> None:
    agent.set("temp0.celsius", 15)
    name = await deployed(programs, mesh, "thermostat", suffix, every_s=double(0.1), target=double(20))
    await eventually(lambda: agent.get("led0.on") == "on")
    agent.set("temp0.celsius", 21)
    await eventually(lambda: agent.get("led0.on") == "off")
    ref = pb.InstanceRef(deployment_id=name)
    await programs.stub.SetGlobal(
        pb.SetGlobalRequest(instance=ref, name="target", value=value_pb2.Value(double=25)), timeout=10
    )
    await eventually(lambda: agent.get("led0.on") == "on")


@BOTH
async def test_batch_telemetry_sends_collected_readings(
    programs: Programs, mesh: Mesh, agent: Agent, suffix: str
) -> None:
    await programs.run("ears", "subscribe('telemetry', function(m) got = #m.value.readings end)")
    name = await deployed(programs, mesh, "batch_telemetry", suffix, every_s=double(0.1), size={"int": 3})
    await programs.until("ears", "got", 3)
    assert await programs.eval(name, "sent >= 1" if suffix == "lua" else "(>= sent 1)") is True


@BOTH
async def test_watchdog_misses_a_device_and_sees_it_come_back(
    programs: Programs, mesh: Mesh, agent: Agent, tmp_path: Path, suffix: str
) -> None:
    name = await deployed(programs, mesh, "watchdog", suffix, patience_s=double(0.3))
    await programs.until(name, "state", "online")
    agent.kill()
    await programs.until(name, "state", "missing")
    (tmp_path / "again").mkdir()
    identity = mesh.pki.directory("device", mesh.one)
    again = Agent.one(mesh.one, mesh.processes.endpoint("link"), identity, tmp_path / "again")
    try:
        await programs.until(name, "state", "online")
    finally:
        again.stop()


@BOTH
async def test_scheduler_begins_and_has_its_schedules(
    programs: Programs, mesh: Mesh, agent: Agent, suffix: str
) -> None:
    name = await deployed(programs, mesh, "scheduler", suffix)
    await programs.until(name, "done", ["begun"])
    assert (await programs.statistics(name)).timers == 3


@BOTH
async def test_fleet_sweep_finds_the_coldest_and_the_warmest(
    programs: Programs, mesh: Mesh, agent: Agent, suffix: str
) -> None:
    agent.set("temp0.celsius", -35)
    name = await deployed(programs, mesh, "fleet_sweep", suffix, every_s=double(0.2))
    coldest = ("last.coldest.device", "(assq-ref (assq-ref last 'coldest) 'device)")

    async def found() -> bool:
        return await value(programs, name, *coldest) == mesh.one

    await eventually(found)


@BOTH
async def test_interactive_greets_and_remembers(programs: Programs, mesh: Mesh, agent: Agent, suffix: str) -> None:
    name = await deployed(programs, mesh, "interactive", suffix)
    greet = ('greet("Ada")', '(greet "Ada")')
    assert await value(programs, name, *greet) == "hello Ada, visit 1"
    assert await value(programs, name, *greet) == "hello Ada, visit 2"
    assert await value(programs, name, 'set("brightness", 40)', '(set "brightness" 40)') == 40
    await eventually(lambda: agent.get("led0.brightness") == "40")
    await programs.stub.RestartProgram(pb.RestartProgramRequest(deployment_id=name), timeout=10)
    await programs.epoch(name, 2)
    assert await value(programs, name, *greet) == "hello Ada, visit 3"


@BOTH
async def test_comfort_uses_the_package_degrees(programs: Programs, mesh: Mesh, agent: Agent, suffix: str) -> None:
    package = program_files.package(EXAMPLES / f"degrees.{suffix}")
    await programs.stub.LoadProgram(pb.LoadProgramRequest(package=package), timeout=60)
    agent.set("temp0.celsius", 15)
    name = await deployed(programs, mesh, "comfort", suffix, every_s=double(0.1))
    await eventually(lambda: agent.get("led0.on") == "on")
    await programs.until(name, "fahrenheit", 59.0)
    agent.set("temp0.celsius", 20)
    await programs.until(name, "fahrenheit", 68.0)
    assert agent.get("led0.on") == "on"
    agent.set("temp0.celsius", 25)
    await eventually(lambda: agent.get("led0.on") == "off")
    await programs.unload_all()
    await programs.stub.UnloadProgram(
        pb.UnloadProgramRequest(program_id="degrees")
    )  # the example in the other language comes next
