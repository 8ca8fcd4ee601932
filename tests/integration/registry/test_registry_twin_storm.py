"""A storm of twin writes through kills of both replicas and of NATS: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.chassis.codec import value_from_proto, value_to_proto
from tests.fixtures.mesh import client
from tests.fixtures.nats import NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess, starter
from tests.fixtures.wait import eventually
from tests.integration.registry.calls import record_contract
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.registry.v1 import registry_pb2_grpc, twin_pb2_grpc
from yggdrasil.registry.v1 import twin_pb2 as pb

WRITERS, KILLS = 6, 6
COUNT = cp.DataSchema(type=cp.VALUE_TYPE_INT)


def counter(name: str) -> cp.Capability:
    count = cp.Property(name="count", schema=COUNT, readable=True, writable=True)
    return cp.Capability(id=name, type="actuator.counter", version=1, properties=[count])


@dataclass
class Writer:
    """Increments one property; records the acknowledged and the tried value."""

    capability: str
    acknowledged: int = 0
    tried: int = 0
    stubs: list[Any] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            value = self.tried = self.acknowledged + 1
            desired = {self.capability: value_to_proto({"count": value})}
            stub = self.stubs[value % len(self.stubs)]
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.UpdateTwin(pb.UpdateTwinRequest(device_id="storm-1", desired=desired), timeout=2)
                self.acknowledged = value


@pytest.mark.parametrize("seed", [1])
async def test_nothing_acknowledged_is_lost(fresh_nats: NatsServer, pki: Pki, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    with starter(pki) as start:

        def run(number: int, listen: str = "127.0.0.1:0") -> ServiceProcess:
            return start("registry", nats_url=fresh_nats.url, data_dir=tmp_path / f"r{number}", listen=listen)

        replicas = [run(0), run(1)]
        places = [replica.listen for replica in replicas]
        writers = [Writer(f"cnt{number}") for number in range(WRITERS)]
        async with contextlib.AsyncExitStack() as stack:
            as_bridge = await stack.enter_async_context(client(places[0], pki, "service", "jotunheim_bridge"))
            stub = registry_pb2_grpc.RegistryServiceStub(as_bridge)
            await record_contract(stub, "storm-1", *(counter(writer.capability) for writer in writers))
            channels = [await stack.enter_async_context(client(place, pki)) for place in places]
            for writer in writers:
                writer.stubs = [twin_pb2_grpc.TwinServiceStub(channel) for channel in channels]
            stop = asyncio.Event()
            running = [asyncio.create_task(writer.run(stop)) for writer in writers]
            for kill in range(KILLS):
                before = sum(writer.acknowledged for writer in writers)
                await eventually(lambda: sum(w.acknowledged for w in writers) >= before + 60, 30, "writes")  # noqa: B023
                victim = kill % 3 if kill < 3 else chance.randrange(3)
                if victim == 2:
                    fresh_nats.kill()
                    await asyncio.to_thread(fresh_nats.start)
                else:
                    replicas[victim].kill()
                    replicas[victim] = run(victim, places[victim])
                    await asyncio.to_thread(replicas[victim].ready)
            stop.set()
            await asyncio.gather(*running)

            async def read() -> pb.Twin:
                answer = await writers[0].stubs[0].GetTwin(pb.GetTwinRequest(device_id="storm-1"), timeout=2)
                twin: pb.Twin = answer.twin
                return twin

            async def readable() -> bool:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    return bool((await read()).revision)
                return False

            await eventually(readable, 20, "the twin")
            twin = await read()
            for writer in writers:
                members = value_from_proto(twin.desired[writer.capability])
                assert isinstance(members, dict)
                assert members["count"] in range(writer.acknowledged, writer.tried + 1)
            print(f"{sum(w.acknowledged for w in writers)} writes acknowledged, {KILLS} kills, 0 lost")
