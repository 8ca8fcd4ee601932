"""The examples of the dialect steel on the real mesh, with the real agent's board: as programs, and as scripts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from services.chassis import codec
from services.domain.values import Value
from tests.fakes.board import Agent
from tests.fixtures.mesh import Mesh, Processes, client
from tests.fixtures.pki import Pki
from tests.fixtures.process import ROOT, ServiceProcess, starter
from tests.fixtures.wait import eventually, until
from tests.integration.loki.programs import RUNNING, SCHEME, Programs, start_loki
from ygg import program_files
from yggdrasil.common.v1 import value_pb2
from yggdrasil.loki.v1 import loki_pb2 as lp
from yggdrasil.loki.v1 import loki_pb2_grpc
from yggdrasil.loki.v1 import program_pb2 as pb

EXAMPLES = ROOT / "examples" / "steel"
NAMES = ["automation", "blink_timer", "scheduled_report", "sensor_alarm", "shadow_report", "state_machine"]
EAR = """(define heard '())
(register-event-handler "mqtt-message"
  (lambda (topic payload) (set! heard (append heard (list (list topic payload))))))"""


@pytest.fixture(scope="module")
def loki_process(
    shared_processes: Processes, pki: Pki, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    with starter(pki) as start:
        yield start_loki(start, shared_processes, tmp_path_factory.mktemp("scheme"))


@pytest_asyncio.fixture
async def programs(loki_process: ServiceProcess, pki: Pki) -> AsyncIterator[Programs]:
    caller, channel = Programs.of(loki_process, pki)
    await caller.load("ear", EAR, SCHEME)
    await caller.deploy("ear")
    await caller.state("ear", RUNNING)
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


async def deployed(programs: Programs, mesh: Mesh, name: str, **arguments: value_pb2.Value) -> None:
    package = program_files.package(EXAMPLES / f"{name}.scm")
    await programs.stub.LoadProgram(pb.LoadProgramRequest(package=package), timeout=60)
    await programs.deploy(name, device_id=mesh.one, arguments=arguments)
    await programs.state(name, RUNNING)


async def payload_of(programs: Programs, topic: str, part: str = "") -> str:
    """Wait for the first message of a topic that contains `part`, and return its payload."""

    async def found() -> list[str]:
        heard: Any = await programs.eval("ear", "(list->vector (map list->vector heard))")
        return [payload for seen, payload in heard if seen == topic and part in payload]

    return str((await eventually(found, 20, f"a message of {topic}"))[0])


async def command(programs: Programs, topic: str, payload: str) -> None:
    await programs.eval("ear", f'(mqtt-publish "commands/{topic}" "{payload}")')


async def reported(programs: Programs, name: str) -> dict[str, Value]:
    return codec.values_from_proto((await programs.instances(name))[0].reported)


async def logged(programs: Programs, name: str, part: str) -> None:
    async def found() -> bool:
        return any(part in line for line in await programs.lines(name))

    await eventually(found, 20, f"{part!r} in the log of {name}")


def double(number: float) -> value_pb2.Value:
    return value_pb2.Value(double=number)


def test_every_example_has_a_test() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.scm")) == NAMES


async def test_blink_timer_blinks_the_given_number_of_times(programs: Programs, mesh: Mesh, agent: Agent) -> None:
    await deployed(programs, mesh, "blink_timer", interval=double(0.1), times=value_pb2.Value(int=3))
    for expected in ("on", "off", "on"):
        await eventually(lambda expected=expected: agent.get("led0.on") == expected)  # type: ignore[misc]
    await logged(programs, "blink_timer", "Blinked 3 times")
    assert agent.get("led0.on") == "off"


async def test_sensor_alarm_alerts_once_per_pause_and_obeys_commands(
    programs: Programs, mesh: Mesh, agent: Agent
) -> None:
    agent.set("temp0.celsius", 20)
    await deployed(programs, mesh, "sensor_alarm", check_interval=double(0.1), cooldown=double(30))
    agent.set("temp0.celsius", 31)
    alert = json.loads(await payload_of(programs, "alerts/temperature"))
    assert (alert["temperature"], alert["threshold"]) == (31.0, 30.0)
    assert agent.get("led0.on") == "on"
    await command(programs, "set-threshold", "35")
    await eventually(lambda: agent.get("led0.on") == "off")
    await command(programs, "stop-monitoring", "")
    await logged(programs, "sensor_alarm", "Monitoring stopped")
    assert len([line for line in await programs.lines("sensor_alarm") if "Temperature alert" in line]) == 1


async def test_shadow_report_reports_under_its_own_keys(programs: Programs, mesh: Mesh, agent: Agent) -> None:
    agent.set("temp0.celsius", 22.5)
    await deployed(programs, mesh, "shadow_report", interval=double(0.1))

    async def found() -> dict[str, Value]:
        now = await reported(programs, "shadow_report")
        return now if now.get("reports", 0) >= 2 else {}  # type: ignore[operator]

    now = await eventually(found, 20)
    assert (now["status"], now["temperature"]) == ("running", 22.5)
    assert json.loads(now["sensor-data"])["temperature"] == 22.5
    assert json.loads(now["program-info"])["device"] == mesh.one


async def test_scheduled_report_arms_schedules_and_reports_first(programs: Programs, mesh: Mesh, agent: Agent) -> None:
    await deployed(programs, mesh, "scheduled_report")
    report = json.loads(await payload_of(programs, "reports/sensors"))
    assert report["device"] == mesh.one
    assert "temperature" in report["readings"]
    assert (await programs.statistics("scheduled_report", mesh.one)).timers == 3
    await programs.eval("scheduled_report", "(heartbeat)", mesh.one)

    async def beaten() -> bool:
        return "last-heartbeat" in await reported(programs, "scheduled_report")

    await eventually(beaten)


async def test_automation_answers_commands_and_readings(programs: Programs, mesh: Mesh, agent: Agent) -> None:
    agent.set("temp0.celsius", 20)
    await deployed(programs, mesh, "automation")
    await logged(programs, "automation", "Waiting for events")
    await command(programs, "led", "on")
    await eventually(lambda: agent.get("led0.on") == "on")
    await command(programs, "led", "off")
    await eventually(lambda: agent.get("led0.on") == "off")
    await command(programs, "status", "")
    assert "temperature" in json.loads(await payload_of(programs, "status/report"))
    await command(programs, "dance", "")
    await logged(programs, "automation", "Unknown command: dance")
    agent.set("temp0.celsius", 36)
    assert json.loads(await payload_of(programs, "alerts/temperature")) == {"sensor": "temperature", "value": 36.0}
    await eventually(lambda: agent.get("led0.on") == "on")

    async def alarmed() -> bool:
        return (await reported(programs, "automation"))["alarm"] == 36.0

    await eventually(alarmed)


async def test_state_machine_keeps_its_state_after_a_restart(programs: Programs, mesh: Mesh, agent: Agent) -> None:
    agent.set("temp0.celsius", 20)
    await deployed(programs, mesh, "state_machine", interval=double(0.1))
    await logged(programs, "state_machine", "Starting in the state idle")
    agent.set("temp0.celsius", 33)
    await logged(programs, "state_machine", "State: idle -> monitoring")

    async def kept() -> bool:
        return (await reported(programs, "state_machine")).get("state") == "monitoring"

    await eventually(kept)
    await programs.stub.RestartProgram(pb.RestartProgramRequest(deployment_id="state_machine"))
    await logged(programs, "state_machine", "Starting in the state monitoring")
    agent.set("temp0.celsius", 36)
    await logged(programs, "state_machine", "State: monitoring -> alert")
    # The alarm of another example also publishes to this topic.
    assert json.loads(await payload_of(programs, "alerts/temperature", '"humidity"'))["temperature"] == 36.0
    agent.set("temp0.celsius", 20)
    await logged(programs, "state_machine", "State: monitoring -> idle")
    await eventually(lambda: agent.get("led0.on") == "off")


DROPPED = {
    "automation": ["subscription of every message", "timer steel_sensors (every 1.0)"],
    "blink_timer": ["timer blink (after 0.5)"],
    "scheduled_report": ["timer schedule_1 (cron * * * * *)", "timer interval_1 (every 60)"],
    "sensor_alarm": ["timer sensor_check (after 10)", "subscription of every message"],
    "shadow_report": ["reported status: running", "timer report (after 30)"],
    "state_machine": ["timer step (after 5)"],
}


@pytest.mark.parametrize("name", NAMES)
async def test_example_runs_as_script_and_lists_dropped_handlers(
    loki_process: ServiceProcess, pki: Pki, mesh: Mesh, agent: Agent, name: str
) -> None:
    request = lp.ExecuteRequest(
        source=(EXAMPLES / f"{name}.scm").read_text(),
        language=lp.LANGUAGE_SCHEME,
        name=f"{name}.scm",
        device_id=mesh.one,
    )
    channel: grpc.aio.Channel
    async with client(loki_process.listen, pki) as channel:
        stub: Any = loki_pb2_grpc.LokiServiceStub(channel)
        dropped = list((await stub.Execute(request, timeout=30)).result.dropped)
    assert [expected for expected in DROPPED[name] if expected not in dropped] == [], dropped
