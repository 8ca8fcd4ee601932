"""Following a stream through kills of the server and cuts of the network: every message once, in order."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from services.chassis import nats as chassis_nats
from services.chassis import streams
from services.chassis.errors import StoreUnavailableError
from services.chassis.kv import Bucket, BucketSpec
from tests.fixtures.nats import Connect, NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.relay import relay
from tests.fixtures.wait import eventually

STREAM = "KV_devices"
CONFIG = StreamConfig(name=STREAM, subjects=["$KV.devices.>"])


class Reader:
    """Follows a stream in a task and records the messages."""

    def __init__(self, js: JetStreamContext, *subjects: str, after: int = 0) -> None:
        self.records: list[streams.Record] = []
        self.caught_up = asyncio.Event()
        self._following = streams.follow(js, STREAM, subjects, after=after)
        self._task = asyncio.create_task(self._run())

    @property
    def sequences(self) -> list[int]:
        return [record.sequence for record in self.records]

    async def _run(self) -> None:
        async for batch in self._following:
            self.records += batch
            if not batch:
                self.caught_up.set()

    async def reach(self, last: int, within_s: float = 15) -> list[int]:
        await eventually(lambda: last in self.sequences, within_s, f"message {last}, have {self.sequences[-3:]}")
        return self.sequences

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._following.aclose()  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def reading(js: JetStreamContext, *subjects: str, after: int = 0) -> AsyncIterator[Reader]:
    reader = Reader(js, *subjects, after=after)
    try:
        yield reader
    finally:
        await reader.close()


@pytest.fixture
async def js(connect_fresh_nats: Connect) -> JetStreamContext:
    """JetStream as the registry, with an empty stream."""
    context = chassis_nats.jetstream(await connect_fresh_nats("registry"))
    await streams.ensure_stream(context, CONFIG)
    return context


async def write(js: JetStreamContext, count: int, size: int = 8) -> int:
    """Write messages, each until it is acknowledged; return the last sequence."""
    last, run = 0, secrets.token_hex(4)
    for number in range(count):
        while True:
            with contextlib.suppress(StoreUnavailableError), chassis_nats.convert_errors("test"):
                headers = {"Nats-Msg-Id": f"{run}-{number}"}  # a retry is stored once
                last = (await js.publish(f"$KV.devices.d{number % 5}", bytes(size), timeout=0.5, headers=headers)).seq
                break
    return last


@pytest.mark.parametrize("kills", [1, 3])
async def test_follow_delivers_once_when_server_is_killed(
    js: JetStreamContext, fresh_nats: NatsServer, kills: int
) -> None:
    async with reading(js) as reader:
        writing = asyncio.create_task(write(js, 300))
        for number in range(kills):
            await reader.reach(30 * (number + 1))
            fresh_nats.kill()
            await asyncio.to_thread(fresh_nats.start)
        last = await writing
        assert await reader.reach(last) == list(range(1, last + 1))


async def test_follow_resumes_after_sequence(js: JetStreamContext, fresh_nats: NatsServer) -> None:
    await write(js, 10)
    async with reading(js) as first:
        await first.reach(10)
    fresh_nats.kill()
    fresh_nats.start()
    assert await write(js, 1) == 11
    async with reading(js, after=10) as second:
        assert await second.reach(11) == [11]
    async with reading(js, after=4) as third:
        assert await third.reach(11) == list(range(5, 12))


@pytest.mark.parametrize("count", [200, 400])  # 200 are all in the first batch: no message follows the lost ones
@pytest.mark.parametrize("cut_after", [1_000, 20_000, 100_000])
async def test_follow_loses_nothing_when_network_is_cut(
    js: JetStreamContext, fresh_nats: NatsServer, pki: Pki, monkeypatch: pytest.MonkeyPatch, count: int, cut_after: int
) -> None:
    """The consumer survives in the server and has advanced past the lost messages."""
    monkeypatch.setattr(streams, "IDLE_S", 1.0)
    last = await write(js, count, size=1000)
    async with relay(urlsplit(fresh_nats.url).port or 0) as through:
        url = f"tls://127.0.0.1:{through.port}"
        async with chassis_nats.connect(url, pki.files("service", "registry"), "registry") as connection:
            through.cut_after(cut_after)
            async with reading(chassis_nats.jetstream(connection.client)) as reader:
                assert await reader.reach(last) == list(range(1, last + 1))
            assert through.connections >= 2


async def test_follow_recreates_deleted_consumer(js: JetStreamContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "IDLE_S", 0.3)
    names: list[str] = []
    add = js.add_consumer

    async def recorded(*args: Any, **kwargs: Any) -> Any:
        info = await add(*args, **kwargs)
        names.append(info.name)
        return info

    monkeypatch.setattr(js, "add_consumer", recorded)
    await write(js, 5)
    async with reading(js) as reader:
        await reader.reach(5)
        await js.delete_consumer(STREAM, names[0])
        await js.publish("$KV.devices.d1", b"after")
        assert await reader.reach(6) == [1, 2, 3, 4, 5, 6]
        assert len(names) == 2


async def test_follow_yields_empty_batch_when_caught_up(js: JetStreamContext) -> None:
    async with reading(js) as empty:
        await asyncio.wait_for(empty.caught_up.wait(), 5)
    last = await write(js, 600)
    async with reading(js) as reader:
        await asyncio.wait_for(reader.caught_up.wait(), 10)
        assert reader.sequences == list(range(1, last + 1))
    async with reading(js, after=last) as done:
        await asyncio.wait_for(done.caught_up.wait(), 5)
        assert done.sequences == []


async def test_follow_delivers_only_requested_subjects(js: JetStreamContext) -> None:
    last = await write(js, 25)
    for subjects in (["$KV.devices.d1"], ["$KV.devices.d1", "$KV.devices.d4"]):
        async with reading(js, *subjects) as reader:
            await asyncio.wait_for(reader.caught_up.wait(), 5)
            assert {record.subject for record in reader.records} == set(subjects)
            assert len(reader.records) == last // 5 * len(subjects)


async def test_follow_marks_deleted_keys(connect_fresh_nats: Connect) -> None:
    js = chassis_nats.jetstream(await connect_fresh_nats("registry"))
    bucket = await Bucket.create(js, BucketSpec("devices", history=5))
    await bucket.put("a", b"1")
    await bucket.delete("a")
    await bucket.put("a", b"2")
    async with reading(js) as reader:
        await reader.reach(3)
        assert [(record.data, record.deleted) for record in reader.records] == [
            (b"1", False),
            (b"", True),
            (b"2", False),
        ]


async def test_follow_deletes_its_consumer_when_stopped(js: JetStreamContext) -> None:
    await write(js, 3)
    async with reading(js) as reader:
        await reader.reach(3)
        assert (await js.stream_info(STREAM)).state.consumer_count == 1

    async def none_left() -> bool:
        return (await js.stream_info(STREAM)).state.consumer_count == 0

    await eventually(none_left, within_s=5)


async def test_ensure_stream_updates_existing_stream(js: JetStreamContext) -> None:
    last = await write(js, 3)
    changed = StreamConfig(name=STREAM, subjects=["$KV.devices.>"], max_age=3600)
    await streams.ensure_stream(js, changed)
    await streams.ensure_stream(js, changed)
    assert (await js.stream_info(STREAM)).config.max_age == 3600
    assert await streams.last_sequence(js, STREAM) == last


async def test_read_ends_after_existing_messages(js: JetStreamContext) -> None:
    await streams.ensure_stream(js, CONFIG)
    for key, value in (("a", b"1"), ("b", b"2"), ("a", b"3")):
        await js.publish(f"$KV.devices.{key}", value)

    async def read(*subjects: str, latest: bool = False) -> list[bytes]:
        found = [batch async for batch in streams.read(js, STREAM, subjects, latest=latest)]
        return [record.data for batch in found for record in batch]

    assert await read() == [b"1", b"2", b"3"]
    assert await read(latest=True) == [b"2", b"3"]
    assert await read("$KV.devices.a") == [b"1", b"3"]
    assert await read("$KV.devices.none") == []
