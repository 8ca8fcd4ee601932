"""The contract of the port PartStore: real NATS and the fake."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from services.chassis.nats import jetstream
from services.ota.adapters.nats_parts import PARTS, NatsParts
from services.ota.errors import PartsFullError
from services.ota.model.parts import PART_BYTES
from services.ota.ports import PartStore
from tests.fakes.parts import MemoryParts
from tests.fixtures.images import image_bytes
from tests.fixtures.nats import NatsServer, connector
from tests.fixtures.pki import Pki
from tests.fixtures.wait import eventually

MOST = 5
Again = Callable[[], Awaitable[PartStore]]
DATA = [image_bytes(PART_BYTES, seed) for seed in range(MOST + 1)]


def name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(params=["memory", "nats"])
async def again(request: pytest.FixtureRequest, pki: Pki) -> AsyncIterator[Again]:
    """Opens a store on the same data, as a restarted ota or a second replica does; it holds MOST parts."""
    if request.param == "memory":
        memory = MemoryParts(MOST)

        async def same() -> PartStore:
            return memory

        yield same
        return
    server: NatsServer = request.getfixturevalue("nats_server")
    async with connector(server, pki) as connect:
        js = jetstream(await connect("ota"))

        async def open_() -> PartStore:
            return await NatsParts.open(js, 1, MOST, 3600)

        await open_()
        await js.purge_stream(PARTS.stream)
        yield open_


@pytest.fixture
async def store(again: Again) -> PartStore:
    return await again()


async def test_a_part_comes_back_at_every_replica(store: PartStore, again: Again) -> None:
    for data in (DATA[0], b"x"):
        await store.put(name(data), data)
    other = await again()
    assert await other.held() == {name(DATA[0]), name(b"x")}
    assert [await other.get(name(data)) for data in (DATA[0], b"x")] == [DATA[0], b"x"]


async def test_what_is_not_there_is_none_and_can_be_dropped(store: PartStore) -> None:
    assert await store.held() == frozenset()
    assert await store.get(name(b"absent")) is None
    await store.drop(name(b"absent"))


async def test_a_part_that_is_put_twice_is_there_once(store: PartStore) -> None:
    await asyncio.gather(*(store.put(name(DATA[0]), DATA[0]) for _ in range(8)))
    assert await store.held() == {name(DATA[0])}
    await store.drop(name(DATA[0]))
    assert (await store.held(), await store.get(name(DATA[0]))) == (frozenset(), None)


async def test_one_part_too_many_is_refused_until_another_is_dropped(store: PartStore) -> None:
    for data in DATA[:MOST]:
        await store.put(name(data), data)
    with pytest.raises(PartsFullError):
        await store.put(name(DATA[MOST]), DATA[MOST])
    assert await store.held() == {name(data) for data in DATA[:MOST]}  # none made room for it
    await store.drop(name(DATA[0]))
    await store.put(name(DATA[MOST]), DATA[MOST])
    assert await store.get(name(DATA[MOST])) == DATA[MOST]


async def test_nats_drops_parts_after_their_time(nats_server: NatsServer, pki: Pki) -> None:
    async with connector(nats_server, pki) as connect:
        js = jetstream(await connect("ota"))
        store = await NatsParts.open(js, 1, MOST, 1.0)
        await js.purge_stream(PARTS.stream)
        await store.put(name(b"x"), b"x")
        assert await store.held() == {name(b"x")}

        async def gone() -> bool:
            return not await store.held()

        await eventually(gone, 10, "the part has expired")
