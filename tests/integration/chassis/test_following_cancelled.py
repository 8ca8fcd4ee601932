"""A cancelled follower ends, even if a message arrives at the same time."""

from __future__ import annotations

import asyncio

import pytest
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from services.chassis import nats, streams
from tests.fixtures.nats import Connect
from tests.fixtures.wait import pace

ROUNDS = 40


@pytest.fixture
async def js(connect_fresh_nats: Connect) -> JetStreamContext:
    """JetStream with the registry's permissions and an empty stream."""
    context = nats.jetstream(await connect_fresh_nats("registry"))
    await streams.ensure_stream(context, StreamConfig(name="KV_devices", subjects=["$KV.devices.>"]))
    return context


async def test_a_cancellation_beside_a_message_is_not_lost(js: JetStreamContext) -> None:
    async def follow() -> None:
        async for _ in streams.follow(js, "KV_devices"):
            following.set()

    for number in range(ROUNDS):
        following = asyncio.Event()
        task = asyncio.create_task(follow())
        await following.wait()
        await pace(0.01)  # it waits for the next message now
        publishing = asyncio.create_task(js.publish("$KV.devices.a", b"x"))
        for _ in range(number):  # a little later in each round
            await asyncio.sleep(0)
        if number % 2:
            await publishing
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=2.0)
        assert done, f"round {number}: cancelled, and goes on"
        await publishing
