"""The twin of the real agent: reported and desired state, checked at the board itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.chassis import codec
from tests.fakes.board import Agent
from tests.fixtures.mesh import Mesh, client
from tests.fixtures.wait import eventually
from yggdrasil.common.v1 import value_pb2
from yggdrasil.jotunheim.v1 import bridge_pb2 as bp
from yggdrasil.registry.v1 import twin_pb2 as tp
from yggdrasil.registry.v1 import twin_pb2_grpc

AT_BOOT = {
    "led0": {"on": False, "brightness": 100},
    "gpio0": {"pin0": False, "pin1": False, "pin2": False, "pin3": False},
}
"""The initial properties of the board, without the siren, which the mesh's policy denies."""


class Lamp:
    """The mesh's device `one`: its agent, started and stopped by the test, and a client of its twin."""

    def __init__(self, mesh: Mesh, stub: Any, directory: Path) -> None:
        self._mesh, self._stub, self._directory = mesh, stub, directory
        self.agent: Agent

    async def start(self) -> None:
        identity = self._mesh.pki.directory("device", self._mesh.one)
        self.agent = Agent.one(self._mesh.one, self._mesh.processes.endpoint("link"), identity, self._directory)
        await eventually(self.agent.active, 20, self.agent.log())

    async def update(self, revision: int = 0, **capabilities: dict[str, Any]) -> tp.Twin:
        desired = codec.values_to_proto(capabilities)
        request = tp.UpdateTwinRequest(device_id=self._mesh.one, desired=desired, revision=revision)
        twin: tp.Twin = (await self._stub.UpdateTwin(request, timeout=5)).twin
        return twin

    async def twin(self) -> tp.Twin:
        twin: tp.Twin = (await self._stub.GetTwin(tp.GetTwinRequest(device_id=self._mesh.one), timeout=5)).twin
        return twin

    async def reported(self) -> dict[str, Any]:
        return codec.values_from_proto((await self.twin()).reported)

    async def settled(self) -> bool:
        return not any(one.pending for one in (await self.twin()).properties)

    async def problems(self) -> dict[str, str]:
        found = (await self.twin()).properties
        return {f"{one.capability_id}.{one.property}": one.problem for one in found if one.problem}

    def writes(self, member: str) -> int:
        """Return how often the link has written a property of the board since power-on."""
        line = next(line for line in self.agent.lines("stats") if f" {member} " in line)
        return int(line.rsplit(" ", 1)[1])

    async def shows(self, member: str, value: str) -> None:
        """Wait until the board has a value."""
        await eventually(lambda: self.agent.get(member) == value, 5, f"{member} is {value}")

    async def sees(self, member: str, value: object) -> None:
        """Wait until the twin reports a value."""
        capability, name = member.split(".")

        async def seen() -> bool:
            return bool((await self.reported())[capability][name] == value)

        await eventually(seen, 10, f"{member} is {value}")


@pytest.fixture
async def twins(mesh: Mesh) -> AsyncIterator[Any]:
    async with client(mesh.processes.endpoint("registry"), mesh.pki) as channel:
        yield twin_pb2_grpc.TwinServiceStub(channel)


@pytest.fixture
def lamp(mesh: Mesh, twins: Any, tmp_path: Path) -> Iterator[Lamp]:
    made = Lamp(mesh, twins, tmp_path)
    yield made
    made.agent.stop()


async def test_reported_state_follows_the_board(mesh: Mesh, lamp: Lamp) -> None:
    await lamp.start()

    async def seen() -> bool:
        return await lamp.reported() == AT_BOOT

    await eventually(seen)
    lamp.agent.set("led0.brightness", 77)
    await lamp.sees("led0.brightness", 77)
    lamp.agent.set("gpio0.pin2", "on")
    await lamp.sees("gpio0.pin2", True)
    on = bp.WritePropertyRequest(device_id=mesh.one, capability="led0", property="on", value=value_pb2.Value(bool=True))
    await mesh.bridge.WriteProperty(on, timeout=5)
    await lamp.sees("led0.on", True)


async def test_the_end_of_a_blinking_is_seen(mesh: Mesh, lamp: Lamp) -> None:
    await lamp.start()
    arguments = {"times": value_pb2.Value(int=2), "period_ms": value_pb2.Value(int=1000)}
    blink = bp.InvokeRequest(device_id=mesh.one, capability="led0", action="blink", arguments=arguments)
    await mesh.bridge.Invoke(blink, timeout=5)
    await lamp.sees("led0.on", True)
    await lamp.sees("led0.on", False)


async def test_only_desired_state_is_written_to_the_board(lamp: Lamp) -> None:
    await lamp.start()
    await eventually(lamp.reported)
    for percent in range(20):
        await lamp.update(led0={"brightness": percent})
        await lamp.shows("led0.brightness", str(percent))
    await eventually(lamp.settled)
    assert await lamp.problems() == {}
    assert (lamp.writes("led0.brightness"), lamp.writes("led0.on"), lamp.writes("gpio0.pin0")) == (20, 0, 0)


async def test_only_delta_is_applied_when_board_reconnects(lamp: Lamp) -> None:
    await lamp.start()
    await eventually(lamp.reported)
    lamp.agent.kill()
    await lamp.update(led0={"brightness": 40, "on": False}, gpio0={"pin1": True})
    await lamp.update(led0={"brightness": 41})
    await lamp.start()
    await eventually(lamp.settled)
    assert (lamp.agent.get("led0.brightness"), lamp.agent.get("gpio0.pin1")) == ("41", "on")
    assert [lamp.writes(f"led0.{name}") for name in ("brightness", "on")] == [1, 0]
    assert [lamp.writes(f"gpio0.pin{pin}") for pin in range(4)] == [0, 1, 0, 0]


async def test_desired_state_is_restored_after_power_loss(lamp: Lamp) -> None:
    await lamp.start()
    await lamp.update(led0={"on": True, "brightness": 5})
    await eventually(lamp.settled)
    for _ in range(3):
        lamp.agent.kill()
        await lamp.start()
        await eventually(lambda: (lamp.agent.get("led0.on"), lamp.agent.get("led0.brightness")) == ("on", "5"))


async def test_failed_write_is_a_problem_until_it_succeeds(lamp: Lamp) -> None:
    await lamp.start()
    await eventually(lamp.reported)
    lamp.agent.ask(f"hang {lamp.agent.device_id} on")
    await lamp.update(led0={"brightness": 12})

    async def reported() -> bool:
        return await lamp.problems() == {"led0.brightness": "the hardware took too long"}

    await eventually(reported, 20, lamp.agent.log())
    assert not await lamp.settled()
    lamp.agent.ask(f"hang {lamp.agent.device_id} off")
    await lamp.update(led0={"brightness": 13})
    await eventually(lamp.settled, 20, lamp.agent.log())
    assert await lamp.problems() == {}
    assert lamp.agent.get("led0.brightness") == "13"


async def test_twin_continues_under_the_next_contract(lamp: Lamp) -> None:
    await lamp.start()
    await eventually(lamp.reported)
    before = (await lamp.twin()).contract_revision
    assert lamp.agent.ask(f"swap {lamp.agent.device_id} extra") == "ok"
    await lamp.update(led0={"brightness": 3})

    async def renegotiated() -> bool:
        return (await lamp.twin()).contract_revision == before + 1 and await lamp.settled()

    await eventually(renegotiated, 20, lamp.agent.log())
    assert lamp.agent.get("led0.brightness") == "3"
    await lamp.update(led0={"brightness": 4})
    await eventually(lambda: lamp.agent.get("led0.brightness") == "4")
    assert lamp.agent.log().count("event=goodbye") == 0


async def test_direct_write_is_drift_until_reset_or_reconnect(mesh: Mesh, lamp: Lamp) -> None:
    await lamp.start()
    await lamp.update(led0={"brightness": 40})
    await lamp.sees("led0.brightness", 40)

    async def drifted() -> bool:
        return any(one.drifted for one in (await lamp.twin()).properties)

    async def write_past(percent: str) -> None:
        value = value_pb2.Value(string=percent)
        request = bp.WritePropertyRequest(device_id=mesh.one, capability="led0", property="brightness", value=value)
        await mesh.bridge.WriteProperty(request, timeout=5)
        await eventually(drifted, 5)

    await write_past("80%")
    await lamp.update(led0={"brightness": 40})
    await lamp.shows("led0.brightness", "40")
    await eventually(lamp.settled)
    await write_past("81 %")
    lamp.agent.kill()
    await lamp.start()
    await lamp.shows("led0.brightness", "40")
    await eventually(lamp.settled)
