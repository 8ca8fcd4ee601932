"""`python -m services.jotunheim_bridge`: build the bridge and run it."""

from __future__ import annotations

import json
import logging
import uuid
from pathlib import Path

from services.chassis import buckets, channel
from services.chassis.arrivals import Bounds, cap_connections
from services.chassis.clock import SystemClock
from services.chassis.errors import SettingsError
from services.chassis.kv import Bucket
from services.chassis.run import Runtime, run
from services.chassis.version import package_version
from services.domain import text
from services.domain.errors import YggError
from services.jotunheim_bridge.adapters.devices import follow_devices, position
from services.jotunheim_bridge.adapters.events import JetStreamEvents
from services.jotunheim_bridge.adapters.listener import DeviceListener, Link
from services.jotunheim_bridge.adapters.ota import GrpcOta, listen
from services.jotunheim_bridge.adapters.registry import GrpcCertificates, GrpcRegistry
from services.jotunheim_bridge.adapters.router import NatsRouter
from services.jotunheim_bridge.adapters.sessions import KvSessionStore, Lease, fence, other_links
from services.jotunheim_bridge.adapters.twins import GrpcTwins, follow_desired
from services.jotunheim_bridge.api import NAME, BridgeApi
from services.jotunheim_bridge.config import BridgeSettings
from services.jotunheim_bridge.model import policy
from services.jotunheim_bridge.model.negotiation import BridgeLimits
from services.jotunheim_bridge.service.bridge import Bridge
from services.jotunheim_bridge.service.calls import Calls
from services.jotunheim_bridge.service.calls import Mesh as CallMesh
from services.jotunheim_bridge.service.negotiator import Mesh, Negotiator
from services.jotunheim_bridge.service.ota import OtaRelay
from services.jotunheim_bridge.service.renewal import Renewals
from services.jotunheim_bridge.service.twins import TwinSync
from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc

_log = logging.getLogger(__name__)


def _policies(path: Path | None) -> tuple[policy.Policy, ...]:
    if path is None:
        return ()
    try:
        return policy.parse(json.loads(text.decode(path.read_bytes(), path)))
    except (OSError, ValueError, YggError) as e:
        raise SettingsError(f"YGG_BRIDGE_POLICY: {path}: {e}", hint="See docs/guides/operations.md, Policies.") from e


def _cap_connections(connections: int) -> int:
    found = cap_connections(connections)
    if found < connections:
        _log.warning(
            "connection limit reduced", extra={"connections": found, "why": "limit of open files (RLIMIT_NOFILE)"}
        )
    return found


def _new_id() -> str:
    return str(uuid.uuid4())


def _ota(runtime: Runtime[BridgeSettings]) -> GrpcOta | None:
    if runtime.settings.ota_endpoint is None:
        return None
    found = channel.connect(runtime.settings.ota_endpoint, runtime.files, "ota")
    runtime.stack.push_async_callback(found.close)
    runtime.depends_on("ota", found)
    return GrpcOta(found)


async def compose(runtime: Runtime[BridgeSettings]) -> dict[str, str]:
    """Build stores, lease, negotiator, servicer and listener. Devices are accepted last."""
    settings, js, clock = runtime.settings, runtime.js, SystemClock()
    rules = _policies(settings.policy)
    registry_channel = channel.connect(settings.registry_endpoint, runtime.files, "registry")
    runtime.stack.push_async_callback(registry_channel.close)
    runtime.depends_on("registry", registry_channel)
    registry = GrpcRegistry(registry_channel)
    events = JetStreamEvents(runtime.nats.client, js, settings.instance_id, settings.events_bytes)
    await events.open()
    sessions = KvSessionStore(await Bucket.create(js, buckets.SESSIONS), settings.instance_id, clock)
    connections = _cap_connections(settings.connections)
    limits = BridgeLimits(
        calls_in_flight=settings.calls_in_flight, heartbeat_ms=settings.heartbeat_ms, connections=connections
    )
    negotiator = Negotiator(Mesh(registry, sessions, events, clock), rules, limits, _new_id)
    updates = OtaRelay(_ota(runtime))
    renewals = Renewals(GrpcCertificates(registry_channel), clock)
    bridge = Bridge(negotiator, sessions, events, clock, TwinSync(GrpcTwins(registry_channel)), updates, renewals)
    record = bridge_pb2.StoredBridge(
        schema=1, bridge_id=settings.instance_id, version=package_version(), link=settings.link_advertise
    )
    bridges = await Bucket.create(js, buckets.BRIDGES)
    lease = Lease(bridges, record, clock, bridge.reclaim_all)
    await lease.acquire()
    runtime.stack.push_async_callback(lease.release)
    runtime.spawn(lease.run(), "lease")
    tls = runtime.files.server_context("devices.pem")
    bounds = Bounds(connections, settings.arrivals)
    listener = DeviceListener(bridge, clock, Link(tls, settings.heartbeat_ms / 1000, bounds))

    async def stop() -> None:
        await listener.stop(await other_links(bridges, settings.instance_id))

    runtime.stack.push_async_callback(stop)
    runtime.spawn(listener.sweep(), "sweep")
    router = NatsRouter(runtime.nats.client, settings.instance_id)
    calls = Calls(bridge, CallMesh(registry, sessions, events, router), _new_id)
    await router.serve(calls.call_here, calls.stream_here, calls.disconnect)
    await listen(runtime.nats.client, bridge)
    runtime.spawn(fence(js, bridge), "fence")
    runtime.spawn(follow_desired(js, bridge, await position(js, buckets.TWIN_DESIRED)), "twins")
    runtime.spawn(follow_devices(js, bridge, await position(js, buckets.DEVICES)), "devices")
    api = BridgeApi(calls)
    runtime.server.add(NAME, lambda server: bridge_pb2_grpc.add_BridgeServiceServicer_to_server(api, server))
    return {"link": await listener.start(settings.link_listen), "bridge": settings.instance_id}


if __name__ == "__main__":
    run("jotunheim_bridge", BridgeSettings, compose)
