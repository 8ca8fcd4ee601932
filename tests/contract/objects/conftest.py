"""Every object store of ota behind one fixture: real NATS, real S3 and the fake, each with and without a cache."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from nats.js import JetStreamContext

from services.chassis.nats import jetstream
from services.ota.adapters import s3_client
from services.ota.adapters.cached import CachedObjects
from services.ota.adapters.disk_cache import DiskCache
from services.ota.adapters.nats_objects import NatsObjects
from services.ota.adapters.s3_objects import S3Objects
from services.ota.model import MAX_IMAGE_BYTES
from services.ota.ports import ObjectStore
from tests.fakes.objects import MemoryObjects
from tests.fixtures.nats import NatsServer, connector
from tests.fixtures.pki import Pki
from tests.fixtures.seaweed import Seaweed

BUCKET = "images"  # the only bucket that ota's NATS permissions cover


@dataclass(frozen=True)
class Place:
    """A store; `reopen` opens another one on the same data, like a restarted ota or a second replica.

    `leftovers` counts what is stored beside whole images: chunks of unfinished uploads.
    """

    store: ObjectStore
    reopen: Callable[[], Awaitable[ObjectStore]]
    leftovers: Callable[[], Awaitable[int]]


@contextlib.asynccontextmanager
async def _nats_place(server: NatsServer, pki: Pki, cache: Callable[[], DiskCache] | None) -> AsyncIterator[Place]:
    async with connector(server, pki) as connect:
        yield await _nats_store(jetstream(await connect("ota")), cache)


async def _open(js: JetStreamContext) -> NatsObjects:
    return await NatsObjects.open(js, BUCKET, replicas=1, now=lambda: datetime.now(UTC))


async def _nats_store(js: JetStreamContext, cache: Callable[[], DiskCache] | None) -> Place:
    async def open_() -> ObjectStore:
        store = await _open(js)
        return CachedObjects(store, cache()) if cache else store

    async def leftovers() -> int:
        state = (await js.stream_info(f"OBJ_{BUCKET}", subjects_filter=f"$O.{BUCKET}.C.>")).state
        images = await (await _open(js)).list("", 1000)
        return len(state.subjects or {}) - len(images)

    store = await open_()
    await js.purge_stream(f"OBJ_{BUCKET}")
    return Place(store, open_, leftovers)


@contextlib.asynccontextmanager
async def _s3_place(weed: Seaweed, cache: Callable[[], DiskCache] | None) -> AsyncIterator[Place]:
    bucket = "contract"
    where = s3_client.S3Settings(
        weed.url, bucket, "us-east-1", weed.access_key_file, weed.secret_key_file, weed.ca_file
    )
    async with s3_client.connect(where) as client:
        await s3_client.ensure_bucket(client, bucket)
        await _empty(client, bucket)

        async def open_() -> ObjectStore:
            store = S3Objects(client, bucket)
            return CachedObjects(store, cache()) if cache else store

        async def leftovers() -> int:
            page: dict[str, Any] = await client.list_multipart_uploads(Bucket=bucket)
            return len(page.get("Uploads", []))

        yield Place(await open_(), open_, leftovers)


@contextlib.asynccontextmanager
async def _memory_place(cache: Callable[[], DiskCache] | None) -> AsyncIterator[Place]:
    first = MemoryObjects()

    async def open_() -> ObjectStore:
        store = MemoryObjects(first.images, first.unfinished)
        return CachedObjects(store, cache()) if cache else store

    async def leftovers() -> int:
        return len(first.unfinished)

    yield Place(await open_(), open_, leftovers)


async def _empty(client: Any, bucket: str) -> None:
    """One bucket for all tests, because each bucket needs seven volumes of SeaweedFS."""
    for entry in (await client.list_objects_v2(Bucket=bucket)).get("Contents", []):
        await client.delete_object(Bucket=bucket, Key=entry["Key"])
    for entry in (await client.list_multipart_uploads(Bucket=bucket)).get("Uploads", []):
        await client.abort_multipart_upload(Bucket=bucket, Key=entry["Key"], UploadId=entry["UploadId"])


@pytest.fixture(params=["memory", "nats", "s3", "memory-cached", "nats-cached", "s3-cached"])
def kind(request: pytest.FixtureRequest) -> tuple[str, object]:
    """The kind of the store and its server; only required servers are started."""
    name = str(request.param)
    servers = {"nats": "nats_server", "s3": "seaweed"}
    server = servers.get(name.partition("-")[0])
    return name, request.getfixturevalue(server) if server else None


@pytest.fixture
async def place(kind: tuple[str, object], pki: Pki, tmp_path: Path) -> AsyncIterator[Place]:
    """An empty store of each kind."""
    name, server = kind
    numbers = itertools.count()

    def new_cache() -> DiskCache:
        return DiskCache.open(tmp_path / f"cache-{next(numbers)}", 2 * MAX_IMAGE_BYTES)

    cache = new_cache if name.endswith("cached") else None
    match server:
        case NatsServer():
            found = _nats_place(server, pki, cache)
        case Seaweed():
            found = _s3_place(server, cache)
        case _:
            found = _memory_place(cache)
    async with found as made:
        yield made


@pytest.fixture
def store(place: Place) -> ObjectStore:
    """The store of the place."""
    return place.store
