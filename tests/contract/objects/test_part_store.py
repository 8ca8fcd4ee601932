"""Contract of the port PartStore, for real NATS and the fake."""

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

MAX_PARTS = 5
Reopen = Callable[[], Awaitable[PartStore]]
DATA = [image_bytes(PART_BYTES, seed) for seed in range(MAX_PARTS + 1)]


def name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(params=["memory", "nats"])
async def reopen(request: pytest.FixtureRequest, pki: Pki) -> AsyncIterator[Reopen]:
    """Opens a store on the same data, like a restarted ota or a second replica; it holds MAX_PARTS parts."""
    if request.param == "memory":
        memory = MemoryParts(MAX_PARTS)

        async def same() -> PartStore:
            return memory

        yield same
        return
    server: NatsServer = request.getfixturevalue("nats_server")
    async with connector(server, pki) as connect:
        js = jetstream(await connect("ota"))

        async def open_() -> PartStore:
            return await NatsParts.open(js, 1, MAX_PARTS, 3600)

        await open_()
        await js.purge_stream(PARTS.stream)
        yield open_


@pytest.fixture
async def store(reopen: Reopen) -> PartStore:
    return await reopen()


async def test_part_is_readable_at_every_replica(store: PartStore, reopen: Reopen) -> None:
    for data in (DATA[0], b"x"):
        await store.put(name(data), data)
    other = await reopen()
    assert await other.stored() == {name(DATA[0]), name(b"x")}
    assert [await other.get(name(data)) for data in (DATA[0], b"x")] == [DATA[0], b"x"]


async def test_missing_part_is_none_and_can_be_dropped(store: PartStore) -> None:
    assert await store.stored() == frozenset()
    assert await store.get(name(b"absent")) is None
    await store.drop(name(b"absent"))


async def test_part_is_stored_once_when_put_twice(store: PartStore) -> None:
    await asyncio.gather(*(store.put(name(DATA[0]), DATA[0]) for _ in range(8)))
    assert await store.stored() == {name(DATA[0])}
    await store.drop(name(DATA[0]))
    assert (await store.stored(), await store.get(name(DATA[0]))) == (frozenset(), None)


async def test_put_is_rejected_when_store_is_full(store: PartStore) -> None:
    for data in DATA[:MAX_PARTS]:
        await store.put(name(data), data)
    with pytest.raises(PartsFullError):
        await store.put(name(DATA[MAX_PARTS]), DATA[MAX_PARTS])
    assert await store.stored() == {name(data) for data in DATA[:MAX_PARTS]}  # no other part was dropped
    await store.drop(name(DATA[0]))
    await store.put(name(DATA[MAX_PARTS]), DATA[MAX_PARTS])
    assert await store.get(name(DATA[MAX_PARTS])) == DATA[MAX_PARTS]


async def test_nats_expires_parts(nats_server: NatsServer, pki: Pki) -> None:
    async with connector(nats_server, pki) as connect:
        js = jetstream(await connect("ota"))
        store = await NatsParts.open(js, 1, MAX_PARTS, 1.0)
        await js.purge_stream(PARTS.stream)
        await store.put(name(b"x"), b"x")
        assert await store.stored() == {name(b"x")}

        async def gone() -> bool:
            return not await store.stored()

        await eventually(gone, 10, "the part has expired")
