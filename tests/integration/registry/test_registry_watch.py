"""Watches that resume: after every response, at another replica, after kills. Real parts only."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.chassis.nats import jetstream
from tests.fixtures.mesh import client
from tests.fixtures.nats import Connect, NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess, StartService
from tests.fixtures.wait import pace
from tests.integration.registry.calls import refused
from yggdrasil.registry.v1 import registry_pb2 as rp
from yggdrasil.registry.v1 import registry_pb2_grpc


async def register(registry: Any, device_id: str, **labels: str) -> rp.Device:
    answer: rp.RegisterDeviceResponse
    answer = await registry.RegisterDevice(rp.RegisterDeviceRequest(device_id=device_id, labels=labels))
    return answer.device


async def relabel(registry: Any, device_id: str, value: str) -> None:
    await registry.UpdateDevice(rp.UpdateDeviceRequest(device_id=device_id, labels={"n": value}))


async def read(registry: Any, count: int, **request: Any) -> list[rp.WatchDevicesResponse]:
    """Return the first responses of a watch, then cancel it."""
    watch = registry.WatchDevices(rp.WatchDevicesRequest(**request))
    found = [await asyncio.wait_for(watch.read(), 10) for _ in range(count)]
    watch.cancel()
    return found


async def test_watch_resumes_after_any_of_its_responses(registry: Any) -> None:
    names = [f"any-{n}" for n in range(6)]
    for name in names:
        await register(registry, name)
    everything = await read(registry, 7, device_ids=names)
    assert [one.device.id for one in everything] == [*names, ""]
    assert everything[-1].caught_up
    for position, response in enumerate(everything):
        rest = names[position + 1 :]
        again = await read(registry, len(rest) + 1, device_ids=names, resume_token=response.resume_token)
        assert [one.device.id for one in again] == [*rest, ""]
        assert again[-1].caught_up


async def test_changes_between_two_watches_are_reported_once(registry: Any) -> None:
    names = ["gap-1", "gap-2", "gap-3"]
    for name in names[:2]:
        await register(registry, name)
    begin = await read(registry, 3, device_ids=names)
    await relabel(registry, "gap-2", "a")
    await relabel(registry, "gap-2", "b")
    await register(registry, "gap-3")
    resumed = await read(registry, 3, device_ids=names, resume_token=begin[-1].resume_token)
    assert [(one.device.id, one.device.labels.get("n", "")) for one in resumed] == [
        ("gap-2", "b"),
        ("gap-3", ""),
        ("", ""),
    ]


async def test_a_watch_of_changes_only_begins_with_a_token(registry: Any) -> None:
    await register(registry, "only-1")
    (begin,) = await read(registry, 1, device_ids=["only-1"], changes_only=True)
    assert begin.caught_up
    await relabel(registry, "only-1", "x")
    changed, end = await read(registry, 2, device_ids=["only-1"], resume_token=begin.resume_token)
    assert (changed.device.labels["n"], end.caught_up) == ("x", True)


async def test_deleted_key_is_reported_by_id_and_revision(registry: Any, connect_nats: Connect) -> None:
    await register(registry, "gone-1")
    first, _ = await read(registry, 2, device_ids=["gone-1"])
    devices = await jetstream(await connect_nats("registry")).key_value("devices")
    await devices.delete("gone-1")
    changed, _ = await read(registry, 2, device_ids=["gone-1"], resume_token=first.resume_token)
    assert (changed.device.id, changed.device.state) == ("gone-1", rp.DEVICE_STATE_UNSPECIFIED)
    assert changed.device.revision > first.device.revision
    (fresh,) = await read(registry, 1, device_ids=["gone-1"])
    assert fresh.caught_up  # a new watch does not show it
    made = await register(registry, "gone-1")
    again, _ = await read(registry, 2, device_ids=["gone-1"], resume_token=changed.resume_token)
    assert again.device == made


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (rp.WatchDevicesRequest(resume_token="x"), "RESUME_TOKEN"),
        (rp.WatchDevicesRequest(resume_token="00000000-1-2-3"), "RESUME_TOKEN"),
        (rp.WatchDevicesRequest(resume_token="00000000-1-2"), "RESUME_TOKEN"),
        (rp.WatchDevicesRequest(resume_token="x" * 5000), "RESUME_TOKEN"),
        (rp.WatchDevicesRequest(device_ids=["No"]), "INVALID_ID"),
        (rp.WatchDevicesRequest(device_ids=["a"] * 1001), "INVALID_REQUEST"),
        (rp.WatchDevicesRequest(changes_only=True, resume_token="00000000-1-2-3"), "INVALID_REQUEST"),
    ],
)
async def test_a_bad_watch_is_an_invalid_argument(registry: Any, request_: Any, reason: str) -> None:
    watch = registry.WatchDevices(request_)
    assert await refused(watch.read()) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


async def test_a_token_that_the_index_has_not_reached_is_unavailable(registry: Any) -> None:
    (begin,) = await read(registry, 1, device_ids=["x"], changes_only=True)
    epoch = begin.resume_token.split("-")[0]
    watch = registry.WatchDevices(rp.WatchDevicesRequest(resume_token=f"{epoch}-99999999-0-0"))
    assert await refused(watch.read()) == (grpc.StatusCode.UNAVAILABLE, "INDEX_BEHIND")


@pytest.mark.timeout(120)
async def test_each_change_is_reported_once_despite_kills(
    fresh_nats: NatsServer, pki: Pki, start_service: StartService, tmp_path: Path
) -> None:
    """One writer, and a watcher that changes the replica every few responses, while each replica is killed in turn."""

    def start(number: int) -> ServiceProcess:
        process = start_service("registry", nats_url=fresh_nats.url, data_dir=tmp_path / str(number))
        process.ready()
        return process

    replicas = [start(0), start(1)]
    writer = start(2)
    names, writes = [f"k-{n}" for n in range(8)], 160
    received: list[tuple[str, int, str]] = []
    async with client(writer.listen, pki) as channel:
        registry = registry_pb2_grpc.RegistryServiceStub(channel)
        for name in names:
            await register(registry, name, n="new")
        last: dict[str, str] = {}

        async def write() -> None:
            for number in range(writes):
                last[names[number % 8]] = str(number)
                await relabel(registry, names[number % 8], str(number))
                await pace(0.02)

        async def look() -> None:
            token, turn = "", 0
            while {name: value for name, _, value in received} != last or len(last) < 8 or not writing.done():
                turn += 1
                if turn in (3, 6):
                    number = turn // 3 - 1
                    replicas[number].kill()
                    replicas[number] = await asyncio.to_thread(start, number)
                async with client(replicas[turn % 2].listen, pki) as channel:
                    stub: Any = registry_pb2_grpc.RegistryServiceStub(channel)
                    watch = stub.WatchDevices(rp.WatchDevicesRequest(resume_token=token))
                    for _ in range(5):
                        try:
                            response = await asyncio.wait_for(watch.read(), 1)
                        except TimeoutError:
                            break
                        token = response.resume_token
                        if not response.caught_up:
                            device = response.device
                            received.append((device.id, device.revision, device.labels["n"]))
                    watch.cancel()

        writing = asyncio.create_task(write())
        await asyncio.gather(writing, look())
    assert len(received) == len(set(received)), "a change was sent twice"
    for name in names:
        revisions = [revision for device_id, revision, _ in received if device_id == name]
        assert revisions == sorted(revisions)
    print(f"\n{writes} writes, {len(received)} responses, 2 replicas killed: 0 duplicates, 0 missing")
