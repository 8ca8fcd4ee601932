"""The real agent on the real mesh: negotiation, calls and reports, checked at its board instead of a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from services.chassis import status
from tests.fakes.board import Agent
from tests.fixtures.mesh import Mesh
from tests.fixtures.wait import eventually, until
from yggdrasil.common.v1 import value_pb2
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb
from yggdrasil.registry.v1 import registry_pb2 as rp

V = value_pb2.Value
StartAgent = Callable[..., Agent]


@pytest.fixture
def start_agent(tmp_path: Path) -> Iterator[StartAgent]:
    started: list[Agent] = []

    def start(mesh: Mesh, device_id: str, *options: str) -> Agent:
        identity = mesh.pki.directory("device", device_id)
        agent = Agent.one(device_id, mesh.processes.endpoint("link"), identity, tmp_path, *options)
        started.append(agent)
        until(agent.active, what=agent.log())
        return agent

    yield start
    for agent in started:
        agent.stop()


async def invoke(mesh: Mesh, device_id: str, member: str, call_id: str = "", **arguments: V) -> dict[str, V]:
    capability, action = member.split(".")
    request = pb.InvokeRequest(
        device_id=device_id, capability=capability, action=action, arguments=arguments, call_id=call_id
    )
    return dict((await mesh.bridge.Invoke(request, timeout=5)).results)


async def read(mesh: Mesh, device_id: str, member: str) -> V:
    capability, name = member.split(".")
    request = pb.ReadPropertyRequest(device_id=device_id, capability=capability, property=name)
    answer: pb.ReadPropertyResponse = await mesh.bridge.ReadProperty(request, timeout=5)
    return answer.value


async def write(mesh: Mesh, device_id: str, member: str, value: V) -> None:
    capability, name = member.split(".")
    request = pb.WritePropertyRequest(device_id=device_id, capability=capability, property=name, value=value)
    await mesh.bridge.WriteProperty(request, timeout=5)


async def online(mesh: Mesh, device_id: str) -> bool:
    return bool((await mesh.registry.GetDevice(rp.GetDeviceRequest(device_id=device_id))).device.presence.online)


async def test_agent_negotiates_six_capabilities_without_the_siren(mesh: Mesh, start_agent: StartAgent) -> None:
    start_agent(mesh, mesh.one)
    contract = (await mesh.registry.GetContract(rp.GetContractRequest(device_id=mesh.one))).contract
    assert [c.id for c in contract.capabilities] == ["led0", "temp0", "hum0", "bat0", "gpio0", "cnt0"]
    assert [(r.capability_id, r.type) for r in contract.refused] == [("siren0", "actuator.siren")]
    listed = await mesh.registry.ListDevices(rp.ListDevicesRequest(has=["sensor.temperature@1+"], online=True))
    assert mesh.one in [d.id for d in listed.devices]


async def test_write_through_mesh_takes_effect_on_board(mesh: Mesh, start_agent: StartAgent) -> None:
    agent = start_agent(mesh, mesh.one)
    await write(mesh, mesh.one, "led0.on", V(bool=True))
    assert agent.get("led0.on") == "on"
    await write(mesh, mesh.one, "led0.on", V(bool=False))
    assert agent.get("led0.on") == "off"
    await write(mesh, mesh.one, "led0.brightness", V(int=40))
    assert agent.get("led0.brightness") == "40"
    await write(mesh, mesh.one, "gpio0.pin2", V(bool=True))
    assert agent.get("gpio0.pin2") == "on"


async def test_change_on_board_is_read_through_mesh(mesh: Mesh, start_agent: StartAgent) -> None:
    agent = start_agent(mesh, mesh.one)
    assert (await read(mesh, mesh.one, "temp0.celsius")).double == 23.5
    agent.set("temp0.celsius", -12.25)
    assert (await read(mesh, mesh.one, "temp0.celsius")).double == -12.25
    agent.set("led0.on", "on")
    assert (await read(mesh, mesh.one, "led0.on")).bool is True


async def test_repeated_call_id_is_answered_without_a_second_run(mesh: Mesh, start_agent: StartAgent) -> None:
    agent = start_agent(mesh, mesh.one)
    for _ in range(3):
        assert (await invoke(mesh, mesh.one, "cnt0.add", "same", n=V(int=5)))["count"].int == 5
    assert agent.get("cnt0.count") == "5"
    assert (await invoke(mesh, mesh.one, "cnt0.add", "other", n=V(int=1)))["count"].int == 6


async def test_an_event_of_the_board_reaches_a_watcher_once(mesh: Mesh, start_agent: StartAgent) -> None:
    agent = start_agent(mesh, mesh.one)
    watch = mesh.bridge.WatchEvents(pb.WatchEventsRequest(device_ids=[mesh.one], kinds=[pb.EVENT_KIND_EVENT]))
    await watch.initial_metadata()
    await invoke(mesh, mesh.one, "temp0.set_threshold", celsius=V(double=75))
    agent.set("temp0.celsius", 80)
    event = (await watch.read()).event
    assert (event.capability, event.name, event.sequence) == ("temp0", "over", 1)
    assert event.fields["celsius"].double == 80
    watch.cancel()


async def test_telemetry_arrives_in_order_beyond_first_credit(mesh: Mesh, start_agent: StartAgent) -> None:
    watch = mesh.bridge.WatchEvents(pb.WatchEventsRequest(device_ids=[mesh.one], kinds=[pb.EVENT_KIND_TELEMETRY]))
    await watch.initial_metadata()
    agent = start_agent(mesh, mesh.one, "--telemetry-ms=10")
    seen = [(await watch.read()).event for _ in range(200)]  # the first credit is for 64 frames
    turn = ["temp0.celsius", "hum0.percent", *(f"gpio0.pin{pin}" for pin in range(4))]
    names = [f"{event.capability}.{name}" for event in seen for name in event.fields]
    first = turn.index(names[0])
    assert names == [turn[(first + number) % 6] for number in range(200)]
    assert all(event.fields["celsius"].double == 23.5 for event in seen if event.capability == "temp0")
    assert "samples_dropped=0 " in agent.ask("list")
    watch.cancel()


async def test_a_streamed_action_of_the_board_answers_as_it_counts(mesh: Mesh, start_agent: StartAgent) -> None:
    agent = start_agent(mesh, mesh.one)
    arguments = {"to": V(int=5), "period_ms": V(int=10)}
    call = pb.InvokeRequest(device_id=mesh.one, capability="cnt0", action="count_up", arguments=arguments, call_id="up")
    for seen in ([1, 2, 3, 4, 5], [5]):  # a repeated call gets the last answer
        stream = mesh.bridge.InvokeStream(pb.InvokeStreamRequest(call=call), timeout=5)
        assert [answer.response.results["n"].int async for answer in stream] == seen
    assert f"{mesh.one} cnt0.count_up 1" in agent.lines("stats")


async def test_hung_board_exceeds_the_deadline_and_recovers(mesh: Mesh, start_agent: StartAgent) -> None:
    agent = start_agent(mesh, mesh.one)
    agent.ask(f"hang {mesh.one} on")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        request = pb.ReadPropertyRequest(device_id=mesh.one, capability="led0", property="on")
        await mesh.bridge.ReadProperty(request, timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    agent.ask(f"hang {mesh.one} off")
    assert (await read(mesh, mesh.one, "led0.on")).bool is False


async def test_power_loss_during_call_leaves_outcome_unknown(mesh: Mesh, start_agent: StartAgent) -> None:
    agent = start_agent(mesh, mesh.one)
    agent.ask(f"hang {mesh.one} on")
    request = pb.ReadPropertyRequest(device_id=mesh.one, capability="led0", property="on")
    call = mesh.bridge.ReadProperty(request, timeout=10)
    await eventually(lambda: "invoke" in agent.ask("stats") or True)
    agent.kill()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() in (grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE)
    info = status.error_info(caught.value)
    assert info is not None
    assert info.reason in ("OUTCOME_UNKNOWN", "DEVICE_OFFLINE")


async def test_added_sensor_is_in_next_contract_revision(mesh: Mesh, start_agent: StartAgent) -> None:
    agent = start_agent(mesh, mesh.one)
    before = (await mesh.registry.GetContract(rp.GetContractRequest(device_id=mesh.one))).contract.revision
    assert agent.ask(f"swap {mesh.one} extra") == "ok"
    agent.set("light0.lux", 320)

    async def plugged_in() -> bool:
        contract = (await mesh.registry.GetContract(rp.GetContractRequest(device_id=mesh.one))).contract
        return bool(contract.revision == before + 1 and contract.capabilities[-1].id == "light0")

    await eventually(plugged_in, what=agent.log())
    until(agent.active, what=agent.log())
    assert (await read(mesh, mesh.one, "light0.lux")).double == 320
    assert "active sessions=1 " in agent.ask("list")


async def test_an_agent_that_was_dropped_resumes_its_tls_session(mesh: Mesh, start_agent: StartAgent) -> None:
    agent, other = start_agent(mesh, mesh.one), start_agent(mesh, mesh.two, "--no-resume")
    for device_id in (mesh.one, mesh.two):
        await mesh.bridge.Disconnect(pb.DisconnectRequest(device_id=device_id), timeout=5)
    until(lambda: "active sessions=2 resumed=1 " in agent.ask("list"), what=agent.log())
    until(lambda: "active sessions=2 resumed=0 " in other.ask("list"), what=other.log())
    assert (await read(mesh, mesh.one, "led0.on")).bool is False


async def test_the_agent_says_goodbye_and_exits_0(mesh: Mesh, start_agent: StartAgent) -> None:
    agent = start_agent(mesh, mesh.one)
    assert agent.stop() == 0

    async def offline() -> bool:
        return not await online(mesh, mesh.one)

    await eventually(offline, what="offline in the registry")
