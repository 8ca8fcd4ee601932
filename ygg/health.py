"""Collect the health of a mesh: readiness, version, uptime and a note for each service and nats-server.

Queries no device. A service that does not respond is reported as unreachable.
"""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.chassis.codec import moment
from services.domain.errors import YggError
from ygg.client import Mesh
from ygg.contexts import SERVICES
from ygg.exits import CliError
from ygg.mesh.nats_keeper import ACCOUNT, Disk
from ygg.output import counted, safe, size
from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc
from yggdrasil.loki.v1 import loki_pb2, loki_pb2_grpc
from yggdrasil.ota.v1 import ota_pb2, ota_pb2_grpc
from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

CHECK_S = 3.0
_PAGE = 1000
_COUNT_PAGES = 10
CONTEST_S = 600.0
_ANY_STORE_BYTES = 2**60
_DIGITS = 19
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # ignores the proxy variables of the shell


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """One row of `ygg status`. `uptime_s` is None if unknown.

    `missing` names its unavailable dependencies; a service that still serves without them is degraded, not down.
    `starting` means not ready yet, without an error.
    """

    service: str
    ready: bool
    version: str = ""
    instance: str = ""
    uptime_s: float | None = None
    note: str = ""
    serving: bool = False
    missing: tuple[str, ...] = ()
    starting: bool = False
    store_used_bytes: int | None = None
    """Bytes that NATS stores for the mesh, as this service reports; None if unknown."""
    store_limit_bytes: int | None = None
    """Storage limit of the mesh in bytes; None: no limit; 0: writes are rejected because the disk is full."""


def collect(mesh: Mesh) -> list[ServiceHealth]:
    """Query every service and nats-server concurrently; an unreachable one becomes a row, not an error."""
    with ThreadPoolExecutor(max_workers=len(SERVICES) + 1) as pool:
        services = [pool.submit(_service, mesh, name) for name in SERVICES]
        nats = pool.submit(_nats, mesh.context.nats_monitor)
        found = [future.result() for future in services]
        rows = nats.result() or _nats_from_services(found)
    if any(not row.ready for row in rows):
        found = [_degraded(one, "nats") for one in found]
    return [*found, *rows, *_pools(mesh, found)]


def _degraded(one: ServiceHealth, dependency: str) -> ServiceHealth:
    if not one.serving or dependency in one.missing:
        return one
    note = "; ".join(filter(None, (f"{dependency} is not ready", one.note)))
    return replace(one, ready=False, missing=(*one.missing, dependency), note=note)


def _nats_from_services(found: list[ServiceHealth]) -> list[ServiceHealth]:
    """Return the NATS row as the services report it, if its monitor is unreachable; none if no service responds."""
    if not any(one.version for one in found):
        return []
    disconnected = [one.service for one in found if "nats" in one.missing]
    note = f"no connection from {', '.join(disconnected)}" if disconnected else "all reachable services are connected"
    stores = [(one.store_used_bytes, one.store_limit_bytes) for one in found]
    used, limit = next((store for store in stores if store[0] is not None), (None, None))
    if used is None:
        return [ServiceHealth("nats", not disconnected, note=note, serving=not disconnected)]
    note += f"; {_of_limit(f'store {size(used)}', limit)}"
    ready = not disconnected and limit != 0
    row = ServiceHealth("nats", ready, note=note, serving=not disconnected)
    return [replace(row, store_used_bytes=used, store_limit_bytes=limit)]


def _pools(mesh: Mesh, found: list[ServiceHealth]) -> list[ServiceHealth]:
    """Return a row for each worker pool of loki and for its program workers; none if loki does not respond."""
    if not any(one.service == "loki" and one.serving for one in found):
        return []
    try:
        engines = _engines(mesh)
        return [*map(_script_workers, engines), *map(_program_workers, engines)]
    except (YggError, CliError):
        return []


def _script_workers(engine: loki_pb2.Engine) -> ServiceHealth:
    note = f"{engine.workers} of {counted(max(engine.desired_workers, engine.workers), 'worker')}"
    note += f", {engine.workers_busy} busy, {counted(engine.worker_restarts, 'restart')}"
    ready = engine.available and engine.workers >= engine.desired_workers
    starting = not ready and not engine.reason
    why = "" if engine.available else safe(engine.reason) or "starting"
    return ServiceHealth(
        f"loki {_language(engine)}",
        ready,
        safe(engine.version, 32),
        note="; ".join(filter(None, (note, why))),
        serving=engine.available,
        starting=starting,
    )


def _program_workers(engine: loki_pb2.Engine) -> ServiceHealth:
    """Return the row of workers that host deployed programs; zero workers is ready if no program needs one."""
    up, desired = engine.program_workers, max(engine.desired_program_workers, engine.program_workers)
    note = f"{up} of {counted(desired, 'worker')}, {counted(engine.program_worker_restarts, 'restart')}"
    ready = up == desired
    why = "" if ready else safe(engine.reason) or "starting"
    return ServiceHealth(
        f"loki {_language(engine)} programs",
        ready,
        safe(engine.version, 32),
        note="; ".join(filter(None, (note, why))),
        serving=ready,
        starting=not ready and not engine.reason,
    )


def _service(mesh: Mesh, name: str) -> ServiceHealth:
    stub = health_pb2_grpc.HealthStub(mesh.channel(name))
    try:
        answer, call = stub.Check.with_call(health_pb2.HealthCheckRequest(), timeout=CHECK_S)
    except grpc.RpcError as e:
        error = mesh.error(name, e)
        note = error.message if isinstance(error, YggError) else str(error)
        return ServiceHealth(name, ready=False, note=safe(note))
    pairs = [(key, value) for key, value in call.trailing_metadata() or () if isinstance(value, str)]
    metadata, missing = dict(pairs), tuple(safe(value, 32) for key, value in pairs if key == "ygg-away")
    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    note, lacks = _note(mesh, name) if serving else ("", ())
    unavailable = "; ".join(f"{each} is unavailable" for each in missing)
    starting = "" if serving or unavailable else "starting or stopping"
    return ServiceHealth(
        name,
        serving and not missing and not lacks,
        version=safe(metadata.get("ygg-version", ""), 32),
        instance=safe(metadata.get("ygg-instance", ""), 63),
        uptime_s=_since(metadata.get("ygg-start-unix", "")),
        note="; ".join(filter(None, (unavailable, starting, note))),
        serving=serving,
        missing=(*missing, *lacks),
        store_used_bytes=_bytes(metadata.get("ygg-store-used", "")),
        store_limit_bytes=_limited(_bytes(metadata.get("ygg-store-limit", ""))),
    )


def _bytes(digits: str) -> int | None:
    return int(digits) if digits.isdecimal() and len(digits) <= _DIGITS else None


def _limited(limit: int | None) -> int | None:
    return limit if limit is not None and limit < _ANY_STORE_BYTES else None


def _note(mesh: Mesh, name: str) -> tuple[str, tuple[str, ...]]:
    """Return a summary of the service's contents, and the languages it lacks."""
    notes: dict[str, Callable[[Mesh], str]] = {
        "registry": _registry_note,
        "jotunheim_bridge": _bridge_note,
        "ota": _ota_note,
    }
    try:
        return _loki_note(mesh) if name == "loki" else (notes[name](mesh), ())
    except (YggError, CliError) as e:
        return safe(e.message), ()


def _registry_note(mesh: Mesh) -> str:
    stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
    request = registry_pb2.ListDevicesRequest(page_size=_PAGE)
    return _count(mesh, "registry", stub.ListDevices, request, "device")


def _bridge_note(mesh: Mesh) -> str:
    stub = bridge_pb2_grpc.BridgeServiceStub(mesh.channel("jotunheim_bridge"))
    request = bridge_pb2.ListSessionsRequest(page_size=_PAGE)
    contested: list[str] = []

    def look(sessions: Iterable[bridge_pb2.Session]) -> None:
        now = datetime.now(UTC)
        contested.extend(safe(one.device_id, 63) for one in sessions if _contested(one, now))

    note = _count(mesh, "jotunheim_bridge", stub.ListSessions, request, "session", look)
    if not contested:
        return note
    more = f" and {len(contested) - 1} more" if len(contested) > 1 else ""
    return f"{note}; identity used by two devices: {contested[0]}{more}"


def _contested(session: bridge_pb2.Session, now: datetime) -> bool:
    """Return whether another device used the same identity within the last CONTEST_S seconds."""
    if not session.HasField("identity_conflict_time"):
        return False
    return (now - moment(session.identity_conflict_time)).total_seconds() < CONTEST_S


def _ota_note(mesh: Mesh) -> str:
    stub = ota_pb2_grpc.OtaServiceStub(mesh.channel("ota"))
    return _count(mesh, "ota", stub.ListImages, ota_pb2.ListImagesRequest(page_size=_PAGE), "image")


def _loki_note(mesh: Mesh) -> tuple[str, tuple[str, ...]]:
    engines = _engines(mesh)
    available = " and ".join(_language(engine) for engine in engines if engine.available)
    missing = tuple(_language(engine) for engine in engines if not engine.available and engine.reason)
    notes = [f"runs {available}"] if available else []
    return "; ".join((*notes, *(f"no {language}" for language in missing))) or "no engine", missing


def _engines(mesh: Mesh) -> list[loki_pb2.Engine]:
    stub = loki_pb2_grpc.LokiServiceStub(mesh.channel("loki"))
    answer = mesh.call("loki", stub.GetCapabilities, loki_pb2.GetCapabilitiesRequest(), timeout_s=CHECK_S)
    return list(answer.engines)


def _language(engine: loki_pb2.Engine) -> str:
    return loki_pb2.Language.Name(engine.language).removeprefix("LANGUAGE_").capitalize()


def _count(
    mesh: Mesh,
    service: str,
    method: Callable[..., Any],
    request: Any,
    what: str,
    look: Callable[[Any], None] = lambda page: None,
) -> str:
    """Return a count such as `2 devices`; after _COUNT_PAGES pages, `10,000+ devices`."""
    total = 0
    for _ in range(_COUNT_PAGES):
        page = mesh.call(service, method, request, timeout_s=CHECK_S)
        found = getattr(page, f"{what}s")
        total += len(found)
        look(found)
        if not page.next_page_token:
            return counted(total, what)
        request.page_token = page.next_page_token
    return f"{total:,}+ {what}s"


def _since(start_unix: str) -> float | None:
    try:
        return max(0.0, time.time() - float(start_unix))
    except ValueError:
        return None


def _nats(monitor: str) -> list[ServiceHealth]:
    """Return the row of nats-server from its monitoring endpoint; none if the context has no endpoint."""
    if not monitor:
        return []
    try:
        server, store = _json(f"{monitor}/varz"), _json(f"{monitor}/jsz?acc={ACCOUNT}")
        ready = bool(_json(f"{monitor}/healthz").get("status") == "ok")
        started = datetime.fromisoformat(server["start"]).timestamp()
        note = f"{counted(store['streams'], 'stream')}, {counted(store['messages'], 'message')}; {_room(store)}"
        return [
            ServiceHealth(
                "nats",
                ready and not _refuses(store),
                safe(server["version"], 32),
                safe(server["server_name"], 63),
                max(0.0, time.time() - started),
                note,
                serving=ready,
            )
        ]
    except (OSError, ValueError, KeyError, TypeError) as e:
        why = e.reason if isinstance(e, urllib.error.URLError) else e
        return [ServiceHealth("nats", ready=False, note=f"{monitor} is unreachable: {safe(why)}")]


def _refuses(store: dict[str, Any]) -> bool:
    """Return whether `nats_keeper` makes nats-server reject all writes."""
    return _limit(store) == 0


def _limit(store: dict[str, Any]) -> int | None:
    """Return the storage limit of the mesh in bytes; None if unlimited."""
    limits = [int(account["reserved_storage"]) for account in store.get("account_details", ())]
    return _limited(limits[0]) if limits else None


def _room(store: dict[str, Any]) -> str:
    """Return use and limit of the store, and the free disk space if the store is on this machine."""
    used, limit = f"store {size(store['storage'])}", _limit(store)
    with contextlib.suppress(OSError):
        used += f", disk {size(Disk.of(Path(store['config']['store_dir'])).free)} free"
    return _of_limit(used, limit)


def _of_limit(used: str, limit: int | None) -> str:
    if limit == 0:
        return f"{used}: disk full, writes are rejected until space is freed"
    return used if limit is None else f"{used}, limit {size(limit)}"


def _json(url: str) -> dict[str, Any]:
    if not url.startswith(("http://", "https://")):
        raise ValueError("nats_monitor must be an http URL")
    with _DIRECT.open(url, timeout=CHECK_S) as answer:
        data: dict[str, Any] = json.loads(answer.read(1_000_000))
        return data
