"""Streams in a store of bounded size, on a real nats-server."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from services.chassis import buckets
from services.chassis import nats as chassis_nats
from services.chassis.errors import StoreFullError, StoreUnavailableError
from services.chassis.kv import Bucket
from services.chassis.kv_writer import KvWriter
from services.chassis.quota import MIB, MIN_STREAM_BYTES, StreamQuota, store_bytes
from services.chassis.streams import ensure_stream
from services.domain.errors import Code
from services.jotunheim_bridge.adapters.events import JetStreamEvents
from services.ota.adapters.nats_objects import NatsObjects
from services.ota.model import Header
from tests.fixtures.nats import Connect, NatsServer, connector
from tests.fixtures.pki import Pki
from tests.fixtures.wait import eventually

LIMIT = 100 * MIB
STREAM = StreamConfig(name="KV_devices", subjects=["$KV.devices.>"])


@pytest.fixture
def server(pki: Pki, tmp_path: Path) -> Iterator[NatsServer]:
    found = NatsServer(tmp_path, pki, LIMIT)
    found.start()
    yield found
    found.stop()


@pytest.fixture
async def connect(server: NatsServer, pki: Pki) -> AsyncIterator[Connect]:
    async with connector(server, pki) as found:
        yield found


@pytest.fixture
async def js(connect: Connect) -> JetStreamContext:
    return chassis_nats.jetstream(await connect("registry"))


async def restart(js: JetStreamContext, server: NatsServer, limit_bytes: int) -> None:
    def restart_server() -> None:
        server.stop()
        server.limit_bytes = limit_bytes
        server.start()

    async def limited() -> bool:
        with contextlib.suppress(StoreUnavailableError):
            return await store_bytes(js) == limit_bytes
        return False

    await asyncio.to_thread(restart_server)
    await eventually(limited, what="the connection is back")


async def max_bytes(js: JetStreamContext) -> int | None:
    return (await js.stream_info("KV_devices")).config.max_bytes


async def test_store_bytes_returns_server_limit(js: JetStreamContext, server: NatsServer) -> None:
    assert await store_bytes(js) == LIMIT
    await restart(js, server, 0)
    assert await store_bytes(js) == 0


async def test_stream_size_follows_store_size(js: JetStreamContext, server: NatsServer) -> None:
    await ensure_stream(js, STREAM, StreamQuota(0.4))
    assert await max_bytes(js) == int(0.4 * LIMIT)
    await restart(js, server, LIMIT * 2)
    await ensure_stream(js, STREAM, StreamQuota(0.4))
    assert await max_bytes(js) == int(0.8 * LIMIT)


async def test_oversized_stream_shrinks_and_keeps_messages(js: JetStreamContext, server: NatsServer) -> None:
    await restart(js, server, 16 * LIMIT)
    await ensure_stream(js, STREAM, StreamQuota(0.5))
    for number in range(12):
        await js.publish(f"$KV.devices.{number}", b"x" * 500_000)
    await restart(js, server, 20 * MIB)
    await ensure_stream(js, STREAM, StreamQuota(0.2))
    state = (await js.stream_info("KV_devices")).state
    assert state.messages == 12
    assert await max_bytes(js) == state.bytes > MIN_STREAM_BYTES


async def test_stream_is_unchanged_when_new_size_does_not_fit(js: JetStreamContext, server: NatsServer) -> None:
    await ensure_stream(js, STREAM, StreamQuota(0.4))
    await restart(js, server, LIMIT // 10)
    await ensure_stream(js, STREAM, StreamQuota(0, fixed_bytes=LIMIT))
    assert await max_bytes(js) == int(0.4 * LIMIT)


async def test_new_stream_takes_remaining_space(connect: Connect) -> None:
    js = chassis_nats.jetstream(await connect("registry"))
    await ensure_stream(js, STREAM, StreamQuota(0, fixed_bytes=80 * MIB))
    bridge = await connect("jotunheim_bridge")
    events = JetStreamEvents(bridge, chassis_nats.jetstream(bridge), "b1")
    await events.open()
    info = await chassis_nats.jetstream(bridge).stream_info("YGG_EVENTS")
    assert info.config.max_bytes == 20 * MIB


async def test_fixed_stream_is_rejected_when_it_does_not_fit(js: JetStreamContext) -> None:
    with pytest.raises(
        StoreFullError,
        match="stream KV_devices: not stored, because the disk of NATS or the mesh's share of it is full",
    ) as e:
        await ensure_stream(js, STREAM, StreamQuota(0.4, fixed_bytes=2 * LIMIT))
    assert e.value.code is Code.RESOURCE_EXHAUSTED


async def test_full_store_rejects_writes_and_serves_reads(
    js: JetStreamContext, server: NatsServer, connect: Connect
) -> None:
    bucket = await Bucket.create(js, buckets.DEVICES)
    revision = await bucket.put("a", b"1")
    await restart(js, server, 0)
    reopened = await Bucket.create(js, buckets.DEVICES)
    with pytest.raises(
        StoreFullError, match="devices/a: not stored, because the disk of NATS or the mesh's share of it is full"
    ):
        await reopened.put("a", b"2")
    writer = KvWriter(await connect("registry"), buckets.DEVICES)
    await writer.open()
    (answer,) = await writer.create([("b", b"1")])
    assert isinstance(answer, StoreFullError)
    found = await reopened.get("a")
    assert found is not None and (found.value, found.revision) == (b"1", revision)
    await restart(js, server, LIMIT)
    assert await reopened.put("a", b"2") > revision


async def test_full_image_share_leaves_space_for_state(connect: Connect) -> None:
    ota = await connect("ota")
    js = chassis_nats.jetstream(ota)
    store = await NatsObjects.open(js, "images", 1, lambda: datetime.now(UTC))

    async def chunks(data: bytes) -> AsyncIterator[bytes]:
        yield data

    first, second = b"a" * 20 * MIB, b"b" * 20 * MIB
    await store.put_stream(Header(hashlib.sha256(first).hexdigest(), len(first)), chunks(first))
    with pytest.raises(StoreFullError, match="its stream is full"):
        await store.put_stream(Header(hashlib.sha256(second).hexdigest(), len(second)), chunks(second))
    assert (await js.stream_info("OBJ_images")).state.bytes < 21 * MIB  # no chunk of the second image is left
    assert await Bucket.create(chassis_nats.jetstream(await connect("registry")), buckets.DEVICES)
    assert await store.delete(hashlib.sha256(first).hexdigest())
