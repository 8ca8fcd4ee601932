"""`python -m services.registry`: builds the registry and runs it."""

from __future__ import annotations

import time

from services.chassis import buckets
from services.chassis.clock import SystemClock
from services.chassis.kv import Bucket
from services.chassis.run import Runtime, run
from services.registry.adapters.follower import Follower
from services.registry.adapters.index import SqliteIndex
from services.registry.adapters.reaper import Reaper
from services.registry.adapters.store import KvContractStore, KvDeviceStore
from services.registry.adapters.twins import KvTwinStore
from services.registry.api import NAME, RegistryApi, twins
from services.registry.config import RegistrySettings
from services.registry.service.contracts import Contracts
from services.registry.service.devices import Devices
from services.registry.service.twins import Twins
from yggdrasil.registry.v1 import registry_pb2_grpc, twin_pb2_grpc


async def compose(runtime: Runtime[RegistrySettings]) -> dict[str, str]:
    """Stores, the index and its follower, the reaper, the servicer; ready once the index has caught up."""
    js, clock = runtime.js, SystemClock()
    devices, contracts = await KvDeviceStore.open(js), await KvContractStore.open(js)
    sessions, bridges = await Bucket.create(js, buckets.SESSIONS), Bucket.bind(js, buckets.BRIDGES)
    index = SqliteIndex(runtime.settings.data_dir / "index.sqlite")
    runtime.stack.push_async_callback(index.close)
    follower = Follower(js, index)
    runtime.spawn(follower.run(), "follower")
    reaper = Reaper(js, sessions, bridges, index, clock, runtime.nats.connected_s)
    runtime.spawn(reaper.run(), "reaper")
    api = RegistryApi(  # type: ignore[abstract]
        Devices(devices, index, clock), Contracts(devices, contracts, index, clock)
    )
    runtime.server.add(NAME, lambda server: registry_pb2_grpc.add_RegistryServiceServicer_to_server(api, server))
    twin_api = twins.TwinApi(Twins(await KvTwinStore.open(js), devices, contracts, clock))
    runtime.server.add(twins.NAME, lambda server: twin_pb2_grpc.add_TwinServiceServicer_to_server(twin_api, server))
    started = time.monotonic()
    await follower.caught_up()
    return {"index": str(sum(index.position().values())), "caught_up_s": f"{time.monotonic() - started:.3f}"}


if __name__ == "__main__":
    run("registry", RegistrySettings, compose)
