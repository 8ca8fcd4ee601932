"""Programs over the loss of a replica: failover, restart, and an expired lease."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from services.loki.programs import placement
from tests.fakes.device import document, led
from tests.fixtures.mesh import Mesh, Processes
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess, StartService
from tests.fixtures.wait import eventually, pace
from tests.integration.loki.programs import RUNNING, SCHEME, Programs, start_loki
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.loki.v1 import program_pb2 as pb

COUNTER = "n = store.load('n', 0) every('tick', 0.1, function() n = n + 1 store('n', n) end)"


class Pair:
    """Two replicas with one client each."""

    def __init__(self, start: StartService, mesh: Mesh, pki: Pki, cache: Path) -> None:
        self.processes: Processes = mesh.processes
        self._pki = pki
        self.one = start_loki(start, self.processes, cache, instance_id="loki-one")
        self.two = start_loki(start, self.processes, cache, instance_id="loki-two")

    def connect(self) -> None:
        """Create the clients."""
        self.first, self._first = Programs.of(self.one, self._pki)
        self.second, self._second = Programs.of(self.two, self._pki)

    async def pause_and_resume(self, replica: ServiceProcess, name: str) -> None:
        """Pause a replica until the other owns its instance, resume it, and wait until it owns the instance again."""
        epoch = (await self.second.instances(name))[0].epoch
        os.kill(replica.pid, signal.SIGSTOP)
        try:
            await self.second.epoch(name, epoch + 1)
            await self.second.value_when(name, "beats", lambda beats: beats > 3)  # the new owner runs it
        finally:
            os.kill(replica.pid, signal.SIGCONT)
        await self.second.epoch(name, epoch + 2)
        await self.second.value_when(name, "beats", lambda beats: beats > 3)

    async def close(self) -> None:
        """Close the clients."""
        await self._first.close()
        await self._second.close()


@pytest_asyncio.fixture
async def pair(start_service: StartService, own_mesh: Mesh, pki: Pki, scheme_cache: Path) -> AsyncIterator[Pair]:
    made = await asyncio.to_thread(Pair, start_service, own_mesh, pki, scheme_cache)
    made.connect()
    yield made
    await made.close()


async def deployed(programs: Programs, count: int, source: str = COUNTER) -> list[str]:
    await programs.load("counter", source)
    names = [f"counter_{n}" for n in range(count)]
    for name in names:
        await programs.deploy("counter", deployment_id=name)
    for name in names:
        await programs.state(name, RUNNING)
    return names


async def owners(programs: Programs) -> dict[str, str]:
    return {each.deployment_id: each.replica for each in await programs.instances()}


async def moved(programs: Programs, name: str) -> pb.ProgramInstance:
    """Return an instance as soon as the second replica runs it."""
    found = await programs.instances_when(
        name, lambda found: (found[0].replica, found[0].state) == ("loki-two", RUNNING)
    )
    return found[0]


async def counts_on(programs: Programs, name: str) -> None:
    """Wait until the counter has advanced by more than three."""
    now: Any = await programs.value_when(name, "n", lambda _: True)
    await programs.value_when(name, "n", lambda n: n > now + 3)


async def resumed(pair: Pair, names: list[str]) -> None:
    """Wait until the resumed replica owns its former instances again and every instance runs."""

    async def owns() -> bool:
        found = await pair.first.instances()
        assert all(each.state == RUNNING for each in found), found
        return [each.deployment_id for each in found if each.replica == "loki-one"] == names

    await eventually(owns, 30, "the resumed replica runs its instances again")


async def test_programs_of_dead_replica_move_with_their_stores(pair: Pair) -> None:
    names = await deployed(pair.first, 12)
    before = await owners(pair.first)
    assert set(before.values()) == {"loki-one", "loki-two"}
    for name in names:  # any replica answers for any instance
        await pair.second.until(name, "n > 3", True)
    kept = {name: await pair.second.eval(name, "n") for name in names}
    pair.one.kill()
    for name in names:
        assert (await moved(pair.second, name)).epoch == (2 if before[name] == "loki-one" else 1)
    for name in names:
        assert await pair.second.eval(name, "n") >= kept[name]  # type: ignore[operator]


async def test_paused_replica_leaves_reassigned_programs_alone(pair: Pair) -> None:
    names = await deployed(pair.first, 6)
    mine = [name for name, owner in (await owners(pair.first)).items() if owner == "loki-one"]
    assert mine
    os.kill(pair.one.pid, signal.SIGSTOP)
    try:
        for name in mine:
            assert (await moved(pair.second, name)).epoch == 2
            await counts_on(pair.second, name)
    finally:
        os.kill(pair.one.pid, signal.SIGCONT)
    await resumed(pair, sorted(mine))
    for name in names:
        await counts_on(pair.second, name)
    for name in names:  # a second owner would advance the stored count as well
        one = await pair.second.eval(name, "n")
        stored = await pair.second.eval(name, "store.load('n')")
        assert stored in (one, one + 1, one - 1)  # type: ignore[operator]
    errors = [line for name in mine for line in await pair.second.lines(name) if "LEASE_LOST" in line]
    assert not errors


BEAT = """
beats, e = 0, store.load('e', 0) + 1 store('e', e)
every('beat', 0.05, function()
  beats = beats + 1 publish('beat', e) store('last', e) device.led0.blink{times = e}
end)
"""
EAR = "heard = '' subscribe('beat', function(m) heard = heard .. m.value end)"


def placed_on(what: str, owner: str, device: str = "_mesh") -> str:
    """Return a deployment id that the replica `owner` runs."""
    names = (f"{what}_{n}" for n in range(100))
    return next(name for name in names if placement.owner(f"{name}.{device}", ["loki-one", "loki-two"]) == owner)


async def test_effects_of_a_paused_replica_are_fenced(pair: Pair, own_mesh: Mesh) -> None:
    device = await own_mesh.device()
    await device.negotiate()
    blinked: list[int] = []

    async def serve() -> None:
        while True:
            frame = await device.receive(60)
            if frame.HasField("ping"):
                device.send(pong=link.Pong(token=frame.ping.token))
            elif frame.HasField("invoke"):
                blinked.append(frame.invoke.arguments[0].value.integer)
                done = [link.Argument(index=0, value=link.LinkValue(integer=1))]
                device.send(result=link.Result(call_id=frame.invoke.call_id, status=link.RESULT_STATUS_OK, values=done))

    async def live() -> None:  # without calls it must send a frame within its heartbeat
        while True:
            device.send(ping=link.Ping(token=1))
            await device.drain()
            await pace(0.4)

    serving = [asyncio.create_task(serve()), asyncio.create_task(live())]
    name, ear = placed_on("beat", "loki-one", own_mesh.one), placed_on("ear", "loki-two")
    await pair.first.load("beat", BEAT)
    await pair.first.load("ear", EAR)
    await pair.first.deploy("ear", deployment_id=ear)
    await pair.first.state(ear, RUNNING)
    await pair.first.deploy("beat", deployment_id=name, device_id=own_mesh.one)
    await pair.first.state(name, RUNNING)
    assert (await owners(pair.first))[name] == "loki-one"
    await pair.second.until(ear, "#heard > 5", True)
    for _ in range(3):  # each pause hits the owner at another point of its work
        await pair.pause_and_resume(pair.one, name)
    for task in serving:
        task.cancel()
    epochs = [int(digit) for digit in str(await pair.second.eval(ear, "heard"))]
    assert len(set(epochs)) > 1
    assert epochs == sorted(epochs), "a message of a previous owner came after one of its successor"
    assert len(set(blinked)) > 1
    late = [epoch for at, epoch in enumerate(blinked) if epoch < max(blinked[: at + 1])]
    assert len(late) == len(set(late)), "at most one call in flight of each previous owner may arrive late"
    last, e = await pair.second.eval(name, "store.load('last')"), await pair.second.eval(name, "e")
    assert last == e


async def test_programs_return_with_stores_after_loki_restarts(
    start_service: StartService, own_mesh: Mesh, pki: Pki, scheme_cache: Path
) -> None:
    process = await asyncio.to_thread(start_loki, start_service, own_mesh.processes, scheme_cache)
    programs, channel = Programs.of(process, pki)
    await programs.run("keeps", "n = store.load('n', 0) + 1 store('n', n)")
    await programs.run("keeps_scm", "(define n (+ 1 (load 'n 0))) (store 'n n)", SCHEME)
    await channel.close()
    process.kill()
    again = await asyncio.to_thread(start_loki, start_service, own_mesh.processes, scheme_cache)
    programs, channel = Programs.of(again, pki)
    for name in ("keeps", "keeps_scm"):
        await programs.epoch(name, 2)
        await programs.until(name, "n", 2)
    assert again.terminate() == 0
    await channel.close()


async def test_events_reach_handlers_until_contract_breaks_program(
    start_service: StartService, own_mesh: Mesh, pki: Pki, scheme_cache: Path
) -> None:
    process = await asyncio.to_thread(start_loki, start_service, own_mesh.processes, scheme_cache)
    programs, channel = Programs.of(process, pki)
    device = await own_mesh.device()
    notice = await device.negotiate()
    assert notice is not None
    await programs.load(
        "watch",
        "seen = 0 on('led0.failed', function(e) seen = e.fields.code source = e.device end)"
        " on('offline', function() gone = true end)",
        requires=["actuator.led@1+"],
    )
    await programs.deploy("watch", device_id=own_mesh.one)
    await programs.state("watch", RUNNING)
    sequence = itertools.count(1)

    async def heard() -> bool:  # an event before the subscription is lost
        value = link.Argument(index=0, value=link.LinkValue(integer=7))
        device.send(event=link.Event(sequence=next(sequence), capability=0, event=0, fields=[value]))
        return await programs.eval("watch", "{seen, source}") == [7, own_mesh.one]

    await eventually(heard)
    device.vanish()
    await programs.until("watch", "gone", True)
    again = await own_mesh.device()
    await again.negotiate(document(led("led0", "actuator.lamp")))
    found = await programs.state("watch", pb.INSTANCE_STATE_REFUSED)
    assert "actuator.led" in found[0].problem
    assert found[0].failed
    back = await own_mesh.device()
    await back.negotiate()
    await programs.state("watch", RUNNING)
    await channel.close()
