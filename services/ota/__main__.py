"""`python -m services.ota`: builds ota and runs it."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path

from services.chassis.run import Runtime, run
from services.ota.adapters import s3_client
from services.ota.adapters.cached import CachedObjects
from services.ota.adapters.disk_cache import DiskCache
from services.ota.adapters.nats_objects import NatsObjects
from services.ota.adapters.s3_objects import S3Objects
from services.ota.api import NAME, UPLOAD_DEADLINE_S, OtaApi
from services.ota.config import OtaSettings
from services.ota.errors import ObjectStoreError
from services.ota.ports import ObjectStore
from services.ota.service import Images, keep_swept
from yggdrasil.ota.v1 import ota_pb2_grpc

BUCKET = "images"
RETRY_S = 1.0
_log = logging.getLogger(__name__)


async def compose(runtime: Runtime[OtaSettings]) -> dict[str, str]:
    """The object store with its cache, the sweeper, the servicer."""
    settings = runtime.settings
    origin = await _s3(runtime) if settings.object_store == "s3" else await _nats(runtime)
    cache = DiskCache.open(settings.data_dir / "cache", settings.cache_bytes)
    store = CachedObjects(origin, cache)
    runtime.spawn(keep_swept(store, interval_s=2 * UPLOAD_DEADLINE_S), "sweep")
    api = OtaApi(Images(store, settings.uploads_at_once))
    runtime.server.add(NAME, lambda server: ota_pb2_grpc.add_OtaServiceServicer_to_server(api, server))
    return {"object_store": settings.object_store}


def _now() -> datetime:
    return datetime.now(UTC)


async def _nats(runtime: Runtime[OtaSettings]) -> ObjectStore:
    return await NatsObjects.open(runtime.js, BUCKET, runtime.settings.nats_replicas, _now)


async def _s3(runtime: Runtime[OtaSettings]) -> ObjectStore:
    """Waits until the S3 service is there for the first time, as the connection to NATS does."""
    settings = runtime.settings
    where = s3_client.S3Settings(
        endpoint_url=settings.s3_endpoint_url or "",  # none of the three is missing: config has seen to it
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
            _log.warning("waiting for the object store", extra={"why": e.message})
            await asyncio.sleep(RETRY_S)
    return S3Objects(client, where.bucket)


if __name__ == "__main__":
    run("ota", OtaSettings, compose)
