"""Following a stream on a real nats-server: every message is delivered immediately, also a single one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import pytest
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from services.chassis import nats, streams
from tests.fixtures.nats import Connect
from tests.fixtures.wait import pace

STREAM = StreamConfig(name="KV_devices", subjects=["$KV.devices.>"])
SOON_S = 0.25
"""Well below the maximum duration of one request for messages."""


@pytest.fixture
async def js(connect_fresh_nats: Connect) -> JetStreamContext:
    """JetStream with the registry's permissions and an empty stream."""
    context = nats.jetstream(await connect_fresh_nats("registry"))
    await streams.ensure_stream(context, STREAM)
    return context


@contextlib.asynccontextmanager
async def following(js: JetStreamContext) -> AsyncIterator[AsyncIterator[list[streams.Record]]]:
    """Follow the stream from its start until the end of the test."""
    batches = streams.follow(js, "KV_devices")
    try:
        yield batches
    finally:
        await batches.aclose()  # type: ignore[attr-defined]


async def _sequences(batches: AsyncIterator[list[streams.Record]], count: int) -> list[int]:
    seen: list[int] = []
    while len(seen) < count:
        seen += [record.sequence for record in await anext(batches)]
    return seen


async def test_messages_after_a_pause_are_delivered_immediately(
    js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "IDLE_S", 2 * SOON_S)
    async with following(js) as batches:
        assert await anext(batches) == []
        for last in range(2, 18, 2):
            waiting = asyncio.ensure_future(_sequences(batches, 2))
            assert not (await asyncio.wait([waiting], timeout=streams.IDLE_S + 0.1))[0]
            await js.publish("$KV.devices.d1", b"x")
            await pace(last / 4000)  # a delay that hits every stage of the reader once
            await js.publish("$KV.devices.d2", b"x")
            async with asyncio.timeout(SOON_S):
                assert await waiting == [last - 1, last]


async def test_messages_come_in_ordered_batches_then_the_end(js: JetStreamContext) -> None:
    count = 2 * streams.BATCH_MESSAGES + 1
    for number in range(count):
        await js.publish(f"$KV.devices.d{number}", b"x")
    seen: list[int] = []
    async with following(js) as batches, asyncio.timeout(10):
        async for batch in batches:
            if not batch:
                break
            seen += [record.sequence for record in batch]
    assert seen == list(range(1, count + 1))


async def test_silence_does_not_restart_the_follower(
    js: JetStreamContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(streams, "IDLE_S", 0.05)
    caplog.set_level(logging.INFO, logger=streams.__name__)
    async with following(js) as batches:
        assert await anext(batches) == []
        nothing = asyncio.ensure_future(anext(batches))
        done, _ = await asyncio.wait([nothing], timeout=0.5)
        assert not done
        await js.publish("$KV.devices.d1", b"x")
        async with asyncio.timeout(SOON_S):
            assert [record.sequence for record in await nothing] == [1]
    assert "follow resumed" not in caplog.text
