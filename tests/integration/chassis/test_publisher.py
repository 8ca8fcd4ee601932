"""Batches into a real JetStream: stored in order, deduplicated, and refused immediately instead of by a timeout."""

from __future__ import annotations

import asyncio
from typing import Any

import nats.js.errors
import pytest
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StreamConfig

from services.chassis import nats as chassis_nats
from services.chassis import streams
from services.chassis.publisher import Message, Publisher
from tests.fixtures.nats import Connect

SUBJECT = "$KV.devices.one"
SOON_S = 2.0
"""Well below the timeout of a batch."""


def _messages(count: int, first: int = 0) -> list[Message]:
    numbers = range(first, first + count)
    return [(SUBJECT, str(number).encode(), {"Nats-Msg-Id": str(number)}) for number in numbers]


@pytest.fixture
async def js(connect_fresh_nats: Connect) -> JetStreamContext:
    return chassis_nats.jetstream(await connect_fresh_nats("registry"))


async def _opened(js: JetStreamContext, **changes: Any) -> Publisher:
    await streams.ensure_stream(js, StreamConfig(name="KV_devices", subjects=["$KV.devices.>"], **changes))
    publisher = Publisher(js._nc)
    await publisher.open()
    return publisher


async def test_all_of_a_batch_are_stored_in_order(js: JetStreamContext) -> None:
    publisher = await _opened(js)
    await publisher.publish(_messages(500))
    stored = [(await js.get_msg("KV_devices", sequence)).data for sequence in (1, 250, 500)]
    assert stored == [b"0", b"249", b"499"]
    assert (await js.stream_info("KV_devices")).state.messages == 500


async def test_concurrent_batches_keep_their_acknowledgements(js: JetStreamContext) -> None:
    publisher = await _opened(js)
    await asyncio.gather(*(publisher.publish(_messages(20, first)) for first in range(0, 6000, 20)))
    assert (await js.stream_info("KV_devices")).state.messages == 6000


async def test_a_repeat_is_acknowledged_and_stored_once(js: JetStreamContext) -> None:
    publisher = await _opened(js, duplicate_window=60)
    await publisher.publish(_messages(3))
    await publisher.publish(_messages(5))
    assert (await js.stream_info("KV_devices")).state.messages == 5


async def test_empty_batch_returns_immediately(js: JetStreamContext) -> None:
    await (await _opened(js)).publish([])


async def test_full_stream_refuses_the_batch(js: JetStreamContext) -> None:
    publisher = await _opened(js, max_msgs=2, discard=DiscardPolicy.NEW)
    with pytest.raises(nats.js.errors.APIError):
        await asyncio.wait_for(publisher.publish(_messages(3)), SOON_S)


async def test_batch_fails_without_a_stream(js: JetStreamContext) -> None:
    publisher = Publisher(js._nc)
    await publisher.open()
    with pytest.raises(nats.js.errors.NoStreamResponseError):
        await asyncio.wait_for(publisher.publish(_messages(3)), SOON_S)
