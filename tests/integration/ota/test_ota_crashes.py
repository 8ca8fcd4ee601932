"""Rollouts of two ota replicas through kills: each device is started once, and the rollout ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import secrets
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from services.chassis import nats
from services.chassis.kv import Bucket
from services.chassis.nats import jetstream
from services.chassis.streams import read
from services.domain.subjects import OTA_STREAM
from services.ota.adapters.lease import KEY
from services.ota.adapters.records import LEASES
from tests.fakes.ota_keys import image_of
from tests.fixtures.mesh import client
from tests.fixtures.nats import NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.process import ROOT, ServiceProcess
from tests.fixtures.updates import OtaMesh, Updates, connected, running, start_ota
from tests.fixtures.wait import eventually, pace
from yggdrasil.ota.v1 import rollout_pb2 as pb
from yggdrasil.ota.v1 import rollout_pb2_grpc

DEVICES = 8


@pytest.fixture
def own_mesh(fresh_nats: NatsServer, pki: Pki, tmp_path: Path) -> Iterator[OtaMesh]:
    """Processes for this test alone."""
    with running(fresh_nats, pki, tmp_path) as found:
        yield found


@contextlib.asynccontextmanager
async def fleet(updates: Updates) -> AsyncIterator[list[Any]]:
    flashes = [updates.flash(image_of(f"old-{i}", 9000)) for i in range(DEVICES)]
    tasks = [asyncio.create_task(updates.live(flash)) for flash in flashes]
    try:
        yield flashes
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def all_known(updates: Updates, release: str) -> None:
    request = pb.StartRolloutRequest(spec=pb.RolloutSpec(release_id=release), dry_run=True)

    async def there() -> bool:
        return bool((await updates.rollouts.StartRollout(request, timeout=10)).rollout.counts.total == DEVICES)

    await eventually(there, 30, "all devices are known")


async def under_way_at(rollouts: Any, rollout_id: str, confirmed: int = 0) -> None:
    """Wait for the middle of the rollout: at least `confirmed` devices are confirmed, not all, and it goes on."""

    async def middle() -> bool:
        found = (await rollouts.GetRollout(pb.GetRolloutRequest(id=rollout_id), timeout=5)).rollout
        counts = found.counts
        assert counts.confirmed < DEVICES, "the rollout is over"
        return bool(counts.confirmed >= confirmed and counts.confirmed + counts.downloading + counts.trial > confirmed)

    await eventually(middle, 30, "the middle of the rollout")


async def under_way(updates: Updates, rollout_id: str, confirmed: int = 0) -> None:
    """`under_way_at` the replica that the test calls."""
    await under_way_at(updates.rollouts, rollout_id, confirmed)


async def conducts(mesh: OtaMesh, pki: Pki, replica: ServiceProcess) -> None:
    """Wait until a replica has the conductor's lease."""
    async with nats.connect(mesh.processes.nats.url, pki.files("service", "ota"), "ota") as connection:
        leases = Bucket.bind(jetstream(connection.client), LEASES)

        async def has_it() -> bool:
            entry = await leases.get(KEY)
            return entry is not None and entry.value.decode() == replica.environment["YGG_OTA_INSTANCE_ID"]

        await eventually(has_it, 30, "the other replica conducts")


async def test_a_rollout_survives_kills_and_starts_no_device_twice(own_mesh: OtaMesh, pki: Pki) -> None:
    first = own_mesh.ota[0]
    second = start_ota(own_mesh.start, own_mesh.processes, own_mesh.directory)
    second.ready()
    async with connected(own_mesh, pki) as updates, fleet(updates) as flashes:
        new = image_of(secrets.token_hex(4), 30_000)
        release = await updates.release(new, 2)
        await all_known(updates, release)
        waves = [pb.Wave(count=1), pb.Wave(percent=50), pb.Wave(percent=100)]
        rollout = await updates.start(release, waves=waves)
        await under_way(updates, rollout.id, confirmed=1)
        listen = first.listen
        first.kill()
        await conducts(own_mesh, pki, second)
        start_ota(own_mesh.start, own_mesh.processes, own_mesh.directory, listen=listen).ready()
        async with client(listen, pki) as channel:
            await under_way_at(rollout_pb2_grpc.RolloutServiceStub(channel), rollout.id, confirmed=2)
        second.kill()
        async with client(listen, pki) as channel:
            stub: Any = rollout_pb2_grpc.RolloutServiceStub(channel)

            async def done() -> bool:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    found = (await stub.GetRollout(pb.GetRolloutRequest(id=rollout.id), timeout=5)).rollout
                    return bool(found.state == pb.ROLLOUT_STATE_DONE and found.counts.confirmed == DEVICES)
                return False

            await eventually(done, 60, "the rollout is done")
        assert all(flash.image == new for flash in flashes)


async def test_a_bridge_that_is_killed_in_the_middle_costs_no_update(own_mesh: OtaMesh, pki: Pki) -> None:
    async with connected(own_mesh, pki) as updates, fleet(updates) as flashes:
        new = image_of(secrets.token_hex(4), 60_000)
        release = await updates.release(new, 2)
        await all_known(updates, release)
        rollout = await updates.start(release)
        await under_way(updates, rollout.id)
        own_mesh.processes.running["jotunheim_bridge"].kill()
        own_mesh.processes.start("jotunheim_bridge")
        done = await updates.wait(rollout.id, pb.ROLLOUT_STATE_DONE, within_s=60)
        assert done.counts.confirmed == DEVICES
        assert all(flash.image == new for flash in flashes)


@pytest.mark.parametrize("part", ["nats", "registry"])
async def test_killed_dependency_of_ota_starts_no_device_twice(own_mesh: OtaMesh, pki: Pki, part: str) -> None:
    async with connected(own_mesh, pki) as updates, fleet(updates) as flashes:
        new = image_of(secrets.token_hex(4), 60_000)
        release = await updates.release(new, 2)
        await all_known(updates, release)
        rollout = await updates.start(release, waves=[pb.Wave(count=1), pb.Wave(percent=50), pb.Wave(percent=100)])
        await under_way(updates, rollout.id, confirmed=1)
        if part == "nats":
            own_mesh.processes.nats.kill()
            own_mesh.processes.nats.start()
        else:
            own_mesh.processes.running["registry"].kill()
            own_mesh.processes.start("registry")
        done = await updates.wait(rollout.id, pb.ROLLOUT_STATE_DONE, within_s=90)
        assert done.counts.confirmed == DEVICES
        assert all(flash.image == new for flash in flashes)
        assert set((await started(own_mesh, pki, rollout.id)).values()) == {1}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.timeout(300)
async def test_no_device_is_started_twice_after_random_kills(own_mesh: OtaMesh, pki: Pki, seed: int) -> None:
    chance, listen = random.Random(seed), own_mesh.ota[0].listen
    ota = own_mesh.ota[0]
    parts = ["nats", "registry", "jotunheim_bridge", "ota"] * 2
    chance.shuffle(parts)
    async with connected(own_mesh, pki) as updates, fleet(updates) as flashes:
        new = image_of(secrets.token_hex(4), 60_000)
        release = await updates.release(new, 2)
        await all_known(updates, release)
        rollout = await updates.start(release, waves=[pb.Wave(count=n) for n in (1, 2, 4)] + [pb.Wave(percent=100)])
        for part in parts:
            await pace(chance.uniform(0.05, 1.0))
            if part == "nats":
                own_mesh.processes.nats.kill()
                own_mesh.processes.nats.start()
            elif part == "ota":
                ota.kill()
                ota = start_ota(own_mesh.start, own_mesh.processes, own_mesh.directory, listen=listen)
            else:
                own_mesh.processes.running[part].kill()
                own_mesh.processes.start(part)
        done = await updates.wait(rollout.id, pb.ROLLOUT_STATE_DONE, within_s=120)
        assert done.counts.confirmed == DEVICES, done
        assert all(flash.image == new for flash in flashes)
        assert set((await started(own_mesh, pki, rollout.id)).values()) == {1}


async def test_watch_sees_the_end_despite_a_killed_ota(own_mesh: OtaMesh, pki: Pki, tmp_path: Path) -> None:
    ota = own_mesh.ota[0]
    listen, paths = ota.listen, {"YGG_HOME": str(tmp_path / "home"), "PYTHONPATH": f"{ROOT}:{ROOT}/gen"}
    identity = str(pki.directory("user", "operator"))

    async def ygg(*words: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        command = [sys.executable, "-m", "ygg", *words]
        return await asyncio.create_subprocess_exec(*command, env={**os.environ, **paths}, stdout=pipe, stderr=pipe)

    await (await ygg("context", "set", "test", "--identity", identity, "--ota", listen)).wait()
    async with connected(own_mesh, pki) as updates, fleet(updates):
        release = await updates.release(image_of(secrets.token_hex(4), 9000), 2)
        await all_known(updates, release)
        rollout = await updates.start(release, waves=[pb.Wave(count=1), pb.Wave(percent=100)], approval=True)
        watching = await ygg("--context", "test", "ota", "rollout", "watch", rollout.id, "--json")
        assert watching.stdout is not None
        seen = [json.loads(await asyncio.wait_for(watching.stdout.readline(), 30))]
        ota.kill()
        start_ota(own_mesh.start, own_mesh.processes, own_mesh.directory, listen=listen).ready()
        await updates.wait(rollout.id, pb.ROLLOUT_STATE_WAITING, within_s=60)
        await updates.control(rollout.id, pb.ROLLOUT_CONTROL_APPROVE)
        out, remarks = await asyncio.wait_for(watching.communicate(), 60)
        seen += [json.loads(line) for line in out.splitlines()]
    assert watching.returncode == 0, remarks.decode()
    assert b"reconnecting" in remarks
    assert (seen[-1]["state"], seen[-1]["counts"]["confirmed"]) == ("done", DEVICES)
    assert all(a != b for a, b in itertools.pairwise(seen))


async def started(mesh: OtaMesh, pki: Pki, rollout_id: str) -> Counter[str]:
    """Count the starts of each device in the event stream."""
    found: Counter[str] = Counter()
    async with nats.connect(mesh.processes.nats.url, pki.files("service", "ota"), "ota") as connection:
        subjects = [f"ygg.v1.main.ota.{rollout_id}.started"]
        async for batch in read(jetstream(connection.client), OTA_STREAM, subjects):
            found.update(record.headers["ce-subject"] for record in batch)
    return found


async def test_two_replicas_that_both_conduct_start_each_device_once(own_mesh: OtaMesh, pki: Pki) -> None:
    """The lease is revoked repeatedly, so that both replicas act as its owner; the records stay correct."""
    second = start_ota(own_mesh.start, own_mesh.processes, own_mesh.directory)
    second.ready()
    async with connected(own_mesh, pki) as updates, fleet(updates):
        new = image_of(secrets.token_hex(4), 9000)
        release = await updates.release(new, 2)
        await all_known(updates, release)
        async with nats.connect(own_mesh.processes.nats.url, pki.files("service", "ota"), "ota") as connection:
            js = jetstream(connection.client)
            leases = Bucket.bind(js, LEASES)
            rollout = await updates.start(release, waves=[pb.Wave(count=n) for n in (1, 2, 4)] + [pb.Wave(percent=100)])
            for _ in range(20):
                await leases.delete(KEY)
                await pace(0.1)
            done = await updates.wait(rollout.id, pb.ROLLOUT_STATE_DONE, within_s=40)
        found = await started(own_mesh, pki, rollout.id)
    assert done.counts.confirmed == DEVICES
    assert (len(found), set(found.values())) == (DEVICES, {1})
