"""`python -m services.ota`: build the OTA service and run it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from services.chassis.channel import connect
from services.chassis.clock import SteadyTime, SystemClock
from services.chassis.kv import Bucket, BucketSpec
from services.chassis.run import Runtime, run
from services.ota import api
from services.ota.adapters import records
from services.ota.adapters.archive import KvArchive
from services.ota.adapters.cached import CachedObjects
from services.ota.adapters.disk_cache import DiskCache
from services.ota.adapters.events import NatsEvents
from services.ota.adapters.http import ImageServer
from services.ota.adapters.lease import KvLease
from services.ota.adapters.nats_objects import NatsObjects
from services.ota.adapters.nats_parts import NatsParts
from services.ota.adapters.patches import DetoolsPatches
from services.ota.adapters.registry import GrpcRegistry
from services.ota.adapters.signer import TimestampKey
from services.ota.adapters.tables import KvTable
from services.ota.api import NAME, UPLOAD_DEADLINE_S, OtaApi
from services.ota.api.relay import RelayApi
from services.ota.api.releases import ReleaseApi
from services.ota.api.rollouts import RolloutApi
from services.ota.config import OtaSettings
from services.ota.errors import ObjectStoreError
from services.ota.model.download import Download
from services.ota.model.release import Stored
from services.ota.model.rollout import Rollout
from services.ota.model.update import Device
from services.ota.ports import ObjectStore
from services.ota.service import Images, sweep_forever
from services.ota.service.chunks import Chunks
from services.ota.service.conductor import Conductor
from services.ota.service.deltas import Deltas
from services.ota.service.downloads import Downloads
from services.ota.service.fleet import Fleet
from services.ota.service.parts import Uploads
from services.ota.service.relay import Relay
from services.ota.service.releases import Releases
from services.ota.service.rollouts import Rollouts
from yggdrasil.ota.v1 import ota_pb2_grpc, relay_pb2_grpc, release_pb2_grpc, rollout_pb2_grpc

BUCKET = "images"
RETRY_S = 1.0
T = TypeVar("T")
_log = logging.getLogger(__name__)


async def compose(runtime: Runtime[OtaSettings]) -> dict[str, str]:
    """Build the object store and its cache, tables, conductor, image server and servicers."""
    settings = runtime.settings
    origin = await _s3(runtime) if settings.object_store == "s3" else await _nats(runtime)
    cache = DiskCache.open(settings.data_dir / "cache", settings.cache_bytes)
    store = CachedObjects(origin, cache)
    runtime.spawn(sweep_forever(store, interval_s=2 * UPLOAD_DEADLINE_S), "sweep")
    images = Images(store, settings.uploads_at_once)
    parts = await NatsParts.open(runtime.js, settings.nats_replicas, settings.upload_parts, settings.upload_age_s)
    image_api = OtaApi(images, Uploads(parts, images, store))
    runtime.server.add(NAME, lambda server: ota_pb2_grpc.add_OtaServiceServicer_to_server(image_api, server))
    address = await _updates(runtime, images, store)
    return {"object_store": settings.object_store, "images": address}


async def _updates(runtime: Runtime[OtaSettings], images: Images, store: ObjectStore) -> str:
    """Build releases, rollouts and the relay; return the address of the image server."""
    settings, now = runtime.settings, time.time
    signer = TimestampKey.open(settings.timestamp_key or settings.data_dir / "timestamp.key")
    tables = await _tables(runtime)
    events = NatsEvents(runtime.nats.client, runtime.js, settings.instance_id, settings.events_bytes)
    await events.open()
    channel = connect(settings.registry_endpoint, runtime.files, "registry")
    runtime.stack.push_async_callback(channel.close)
    runtime.depends_on("registry", channel)
    releases = Releases(tables.releases, store, signer, now)
    registry = GrpcRegistry(channel)
    archive = KvArchive(await Bucket.create(runtime.js, records.ARCHIVE))
    steady = SteadyTime()
    fleet = Fleet(tables.devices, tables.rollouts, registry, releases, archive, steady)
    deltas = Deltas(tables.patches, store, DetoolsPatches(), runtime.spawn)
    lease = KvLease(await Bucket.create(runtime.js, records.LEASES), settings.instance_id)
    conductor = Conductor(tables.rollouts, tables.devices, fleet, events, lease, releases, steady)
    downloads = Downloads(tables.downloads, images, store, registry, now)
    server = ImageServer(downloads, runtime.files.server_context("devices.pem"), SystemClock())
    runtime.stack.push_async_callback(server.stop)
    relay = RelayApi(Relay(tables.devices, tables.rollouts, releases, deltas, events, now), Chunks(store))
    release_api = ReleaseApi(releases, downloads)
    rollout_api = RolloutApi(Rollouts(tables.rollouts, fleet, releases, events, now))
    add = runtime.server.add
    add(api.relay.NAME, lambda s: relay_pb2_grpc.add_RelayServiceServicer_to_server(relay, s))
    add(api.releases.NAME, lambda s: release_pb2_grpc.add_ReleaseServiceServicer_to_server(release_api, s))
    add(api.rollouts.NAME, lambda s: rollout_pb2_grpc.add_RolloutServiceServicer_to_server(rollout_api, s))
    runtime.spawn(conductor.run(), "conductor")
    address = await server.start(settings.images_listen)
    runtime.spawn(server.sweep(), "image server sweep")
    return address


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables, with complete views."""

    releases: KvTable[Stored]
    rollouts: KvTable[Rollout]
    devices: KvTable[Device]
    patches: KvTable[dict[str, Any]]
    downloads: KvTable[Download]


async def _tables(runtime: Runtime[OtaSettings]) -> Tables:
    tables = Tables(
        await _table(runtime, records.RELEASES, records.stored_bytes, records.stored),
        await _table(runtime, records.ROLLOUTS, records.rollout_bytes, records.rollout),
        await _table(runtime, records.DEVICES, records.device_bytes, records.device),
        await _table(runtime, records.DELTAS, records.patch_bytes, records.patch),
        await _table(runtime, records.DOWNLOADS, records.download_bytes, records.download),
    )
    for table in (tables.releases, tables.rollouts, tables.devices, tables.patches):
        await table.ready.wait()
    return tables


async def _table(
    runtime: Runtime[OtaSettings], spec: BucketSpec, encode: Callable[[T], bytes], decode: Callable[[bytes], T]
) -> KvTable[T]:
    table = KvTable(runtime.js, await Bucket.create(runtime.js, spec), encode, decode)
    if spec is not records.DOWNLOADS:  # tokens are read one by one, on use
        runtime.spawn(table.run(), f"follow {spec.name}")
    return table


def _now() -> datetime:
    return datetime.now(UTC)


async def _nats(runtime: Runtime[OtaSettings]) -> ObjectStore:
    settings = runtime.settings
    return await NatsObjects.open(runtime.js, BUCKET, settings.nats_replicas, _now, settings.images_bytes)


async def _s3(runtime: Runtime[OtaSettings]) -> ObjectStore:
    """Wait until the S3 service is available for the first time, as the connection to NATS does."""
    from services.ota.adapters import s3_client  # importing boto takes half a second
    from services.ota.adapters.s3_objects import S3Objects

    settings = runtime.settings
    where = s3_client.S3Settings(
        endpoint_url=settings.s3_endpoint_url or "",  # config has validated that all three are set
        bucket=settings.s3_bucket,
        region=settings.s3_region,
        access_key_file=settings.s3_access_key_file or Path(),
        secret_key_file=settings.s3_secret_key_file or Path(),
        ca_file=settings.s3_ca_file,
    )
    client = await runtime.stack.enter_async_context(s3_client.connect(where))
    while not runtime.stopping.is_set():
        try:
            await s3_client.ensure_bucket(client, where.bucket)
            break
        except ObjectStoreError as e:
            _log.warning("object store connection failed", extra={"why": e.message})
            await asyncio.sleep(RETRY_S)
    return S3Objects(client, where.bucket)


if __name__ == "__main__":
    run("ota", OtaSettings, compose)
