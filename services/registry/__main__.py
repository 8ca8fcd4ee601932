"""`python -m services.registry`: builds the registry and runs it."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace

from services.chassis import buckets
from services.chassis.bulk import StreamReader
from services.chassis.clock import SystemClock
from services.chassis.errors import SettingsError
from services.chassis.kv import Bucket
from services.chassis.run import Runtime, run
from services.registry.adapters.backup import KvBackup
from services.registry.adapters.device_writer import KvDeviceWriter
from services.registry.adapters.enrol_listener import EnrolListener
from services.registry.adapters.follower import Follower
from services.registry.adapters.groups import KvGroupStore
from services.registry.adapters.index import SqliteIndex
from services.registry.adapters.reaper import Reaper
from services.registry.adapters.signer import KEY_FILE, DeviceCa
from services.registry.adapters.store import KvContractStore, KvDeviceStore
from services.registry.adapters.tokens import KvTokenStore
from services.registry.adapters.twins import KvTwinStore
from services.registry.api import NAME, RegistryApi, UseCases, twins
from services.registry.api.backup import NAME as BACKUP
from services.registry.api.backup import BackupApi
from services.registry.api.enrolment import NAME as ENROLMENT
from services.registry.api.enrolment import EnrolmentApi
from services.registry.config import RegistrySettings
from services.registry.ports import DeviceStore, Index
from services.registry.service.backup import Backups
from services.registry.service.contracts import Contracts
from services.registry.service.devices import Devices
from services.registry.service.enrolment import Enrolment
from services.registry.service.finding import Finding
from services.registry.service.groups import Groups
from services.registry.service.registration import Registration
from services.registry.service.removal import Removal
from services.registry.service.renewal import Renewal
from services.registry.service.twins import Twins
from services.registry.service.watching import Watching
from yggdrasil.registry.v1 import backup_pb2_grpc, enrolment_pb2_grpc, registry_pb2_grpc, twin_pb2_grpc


async def compose(runtime: Runtime[RegistrySettings]) -> dict[str, str]:
    """Build stores, the index with its follower, the reaper and the servicers; return once the index has caught up."""
    js, clock = runtime.js, SystemClock()
    devices, contracts = await KvDeviceStore.open(js), await KvContractStore.open(js)
    sessions, bridges = await Bucket.create(js, buckets.SESSIONS), Bucket.bind(js, buckets.BRIDGES)
    index = SqliteIndex(runtime.settings.data_dir / "index.sqlite")
    runtime.stack.push_async_callback(index.close)
    follower = Follower(js, index, _reader(runtime))
    runtime.spawn(follower.run(), "follower")
    reaper = Reaper(js, sessions, bridges, index, clock, runtime.nats.connected_s)
    runtime.spawn(reaper.run(), "reaper")
    groups = await KvGroupStore.open(js)
    twin_store = await KvTwinStore.open(js)
    use = UseCases(
        Devices(devices, index, clock),
        Registration(await KvDeviceWriter.open(runtime.nats.client, devices), index, clock),
        Finding(index, groups),
        Watching(index),
        Groups(groups),
        Contracts(devices, contracts, index, clock),
        Removal(devices, twin_store, index, clock),
    )
    api = RegistryApi(use)
    runtime.server.add(NAME, lambda server: registry_pb2_grpc.add_RegistryServiceServicer_to_server(api, server))
    twin_api = twins.TwinApi(Twins(twin_store, devices, contracts, clock))
    runtime.server.add(twins.NAME, lambda server: twin_pb2_grpc.add_TwinServiceServicer_to_server(twin_api, server))
    backup_store = await KvBackup.open(js, runtime.nats.client, runtime.settings.data_dir)
    backup_api = BackupApi(Backups(backup_store, index))
    runtime.server.add(BACKUP, lambda server: backup_pb2_grpc.add_BackupServiceServicer_to_server(backup_api, server))
    enrol = await _enrolment(runtime, devices, index)
    started = time.monotonic()
    await follower.caught_up()
    return {"index": str(sum(index.position().sequences)), "caught_up_s": f"{time.monotonic() - started:.3f}", **enrol}


def _reader(runtime: Runtime[RegistrySettings]) -> StreamReader:
    return StreamReader(runtime.settings.nats_url, runtime.files.client_context(), "_INBOX_registry")


async def _enrolment(runtime: Runtime[RegistrySettings], devices: DeviceStore, index: Index) -> dict[str, str]:
    settings = runtime.settings
    ca = DeviceCa.load(runtime.files) if settings.enrol_listen else None
    if settings.enrol_listen and ca is None:
        raise SettingsError(
            f"YGG_REGISTRY_ENROL_LISTEN is set, but {runtime.files.directory / KEY_FILE} does not exist",
            hint="Unset it, or create the registry's identity where the device CA's key is: ygg pki bootstrap.",
        )
    tokens = await KvTokenStore.open(runtime.js)
    enrolment = Enrolment(tokens, devices, index, ca, SystemClock(), secrets.token_bytes)
    listening: dict[str, str] = {}
    if settings.enrol_listen:
        listener = EnrolListener(enrolment, runtime.files, SystemClock())
        runtime.stack.push_async_callback(listener.stop)
        listening["enrol"] = await listener.start(settings.enrol_listen)
        runtime.spawn(listener.sweep(), "enrolment arrivals")
        enrolment = replace(enrolment, address=settings.enrol_advertise or listening["enrol"])
    api = EnrolmentApi(enrolment, Renewal(devices, ca, SystemClock()))
    add = enrolment_pb2_grpc.add_EnrolmentServiceServicer_to_server
    runtime.server.add(ENROLMENT, lambda server: add(api, server))
    return listening


if __name__ == "__main__":
    run("registry", RegistrySettings, compose)
