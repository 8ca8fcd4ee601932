"""Two bridges under load, one killed, one restarted: no acknowledged event is lost and no action runs twice.

The devices are real agents behind a load balancer. Callers retry failed calls under the same call id, as the errors
advise; the boards count their executions, and the stream is read back from the start.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.chassis.nats import jetstream
from services.chassis.streams import follow, last_sequence
from services.domain.subjects import EVENT_STREAM
from tests.fakes.balancer import balancer
from tests.fakes.board import Agent
from tests.fixtures.mesh import Mesh, client
from tests.fixtures.nats import Connect
from tests.fixtures.wait import eventually, pace
from yggdrasil.common.v1 import value_pb2
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb
from yggdrasil.jotunheim.v1 import bridge_pb2_grpc

DEVICES = 12
ONE = {"n": value_pb2.Value(int=1)}


class Load:
    """Runs callers and input changes until `stop`; counts calls and raised events."""

    def __init__(self, fleet: Fleet, stubs: list[Any]) -> None:
        self._fleet, self._stubs = fleet, stubs
        self._going = True
        self.done: Counter[str] = Counter()
        self.raised: Counter[str] = Counter()
        self.repeated = 0

    def stop(self) -> None:
        self._going = False

    async def call(self, device_id: str) -> None:
        """Call `add` repeatedly; retry a failed call under its id until it is answered."""
        for number in itertools.count():
            if not self._going:
                return
            await self._once(device_id, f"{device_id}-{number}")
            self.done[device_id] += 1

    async def _once(self, device_id: str, call_id: str) -> None:
        request = pb.InvokeRequest(device_id=device_id, capability="cnt0", action="add", arguments=ONE, call_id=call_id)
        for attempt in itertools.count():
            try:
                await self._stubs[attempt % len(self._stubs)].Invoke(request, timeout=2)
                return
            except grpc.aio.AioRpcError as e:
                if e.code() not in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.ABORTED,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                    grpc.StatusCode.CANCELLED,  # by a stopping server
                ):
                    raise RuntimeError(f"{e.code()}: {e.details()}") from e
                self.repeated += 1
                await pace(0.1)

    async def toggle_inputs(self, device_id: str) -> None:
        """Toggle an input pin: each change is an event."""
        for number in itertools.count():
            if not self._going:
                return
            await asyncio.to_thread(
                self._fleet.agent.set_of, device_id, "gpio0.pin0", "on" if number % 2 == 0 else "off"
            )
            self.raised[device_id] += 1
            await pace(0.3)


class Fleet:
    """`DEVICES` agents in one process."""

    def __init__(self, agent: Agent, ids: list[str]) -> None:
        self.agent, self.ids = agent, ids


@contextlib.asynccontextmanager
async def _fleet(mesh: Mesh, endpoint: str, directory: Path) -> AsyncIterator[Fleet]:
    ids = [f"load-{number}" for number in range(1, DEVICES + 1)]
    identities = {mesh.pki.directory("device", device_id).parent for device_id in ids}
    agent = Agent.fleet("load", DEVICES, endpoint, identities.pop(), directory)
    try:
        await eventually(lambda: agent.states().count("active") == DEVICES, 30, agent.log()[-500:])
        yield Fleet(agent, ids)
    finally:
        agent.stop()


@pytest.mark.timeout(240)
async def test_bridge_kill_and_restart_lose_and_repeat_nothing(
    own_mesh: Mesh, connect_fresh_nats: Connect, tmp_path: Path
) -> None:
    mesh, second = own_mesh, own_mesh.processes.start_another_bridge()
    first_link, second_link = mesh.processes.endpoint("link"), str(second.ready()["link"])
    async with (
        balancer(first_link, second_link) as front,
        _fleet(mesh, front.endpoint, tmp_path) as fleet,
        client(second.listen, mesh.pki) as channel,
    ):
        load = Load(fleet, [mesh.bridge, bridge_pb2_grpc.BridgeServiceStub(channel)])
        tasks = [asyncio.create_task(work(name)) for name in fleet.ids for work in (load.call, load.toggle_inputs)]

        def progressed(since: Counter[str], calls: int = 1) -> bool:
            for task in tasks:
                if task.done():
                    task.result()  # raises its error
            return all(load.done[name] >= since[name] + calls for name in fleet.ids)

        await eventually(lambda: progressed(Counter(), 5), 30)

        mesh.processes.running["jotunheim_bridge"].kill()
        reached = Counter(load.done)
        await eventually(lambda: progressed(reached), 40, "after the kill")
        await asyncio.to_thread(mesh.processes.start, "jotunheim_bridge")

        assert await asyncio.to_thread(second.terminate) == 0
        reached = Counter(load.done)
        await eventually(lambda: progressed(reached), 40, "after the restart")
        load.stop()
        await asyncio.gather(*tasks)

        for name in fleet.ids:
            assert fleet.agent.get_of(name, "cnt0.count") == str(load.done[name]), name
        stored = await _stored(connect_fresh_nats, load.raised)
        dropped = sum(int(line.split("dropped=")[1].split()[0]) for line in fleet.agent.lines("list"))
        assert dropped == 0
        for name in fleet.ids:
            assert stored[name] == list(range(1, load.raised[name] + 1)), name
    print(
        f"\n{sum(load.done.values())} calls done once each, {load.repeated} repeated under their id, "
        f"{sum(load.raised.values())} events stored once each, 0 lost, 0 done twice"
    )


async def _stored(connect: Connect, raised: Counter[str]) -> dict[str, list[int]]:
    """Return the sequences in the stream for each device, once every raised event is stored."""
    js = jetstream(await connect("jotunheim_bridge"))
    found: dict[str, list[int]] = {}

    async def all_there() -> bool:
        found.clear()
        found.update(await _read(js))
        return all(len(found.get(name, [])) >= count for name, count in raised.items())

    await eventually(all_there, 30, f"all of {sum(raised.values())} events in the stream")
    return found


async def _read(js: object) -> dict[str, list[int]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    end = await last_sequence(js, EVENT_STREAM)  # type: ignore[arg-type]
    async for batch in follow(js, EVENT_STREAM):  # type: ignore[arg-type]
        for record in batch:
            event = pb.DeviceEvent.FromString(record.data)
            if event.kind == pb.EVENT_KIND_EVENT:
                found[event.device_id].append(event.sequence)
        if not batch or batch[-1].sequence >= end:
            return found
    return found
