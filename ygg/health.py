"""What can be had of a mesh without asking any device: health, version, uptime, and one remark a service.

Owns collecting. Every figure comes from an answer of the moment; what did not answer is said to be unreachable.
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
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy of the shell does not know this mesh


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """One line of `ygg status`. `uptime_s` is None where it is not known.

    `missing` names what it needs and has not; one that serves all the same is not ready, but not down. With `starting`
    it is not ready yet, and nothing is wrong.
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
    """What NATS stores for the mesh, as this service sees it; None where it does not say."""
    store_limit_bytes: int | None = None
    """What it may; None: no limit; 0: it takes nothing, because its disk is full."""


def collect(mesh: Mesh) -> list[ServiceHealth]:
    """Ask every service and nats-server at once; never raises for one that does not answer."""
    with ThreadPoolExecutor(max_workers=len(SERVICES) + 1) as pool:
        services = [pool.submit(_service, mesh, name) for name in SERVICES]
        nats = pool.submit(_nats, mesh.context.nats_monitor)
        found = [future.result() for future in services]
        rows = nats.result() or _nats_by_others(found)
    if any(not row.ready for row in rows):
        found = [_without(one, "nats") for one in found]
    return [*found, *rows, *_pools(mesh, found)]


def _without(one: ServiceHealth, what: str) -> ServiceHealth:
    if not one.serving or what in one.missing:
        return one
    missing = (*one.missing, what)
    return replace(one, ready=False, missing=missing, note="; ".join(filter(None, (f"{what} is not ready", one.note))))


def _nats_by_others(found: list[ServiceHealth]) -> list[ServiceHealth]:
    """NATS as the services see it, where it cannot be asked; no line where no service answers."""
    if not any(one.version for one in found):
        return []
    cut_off = [one.service for one in found if "nats" in one.missing]
    note = f"no connection from {', '.join(cut_off)}" if cut_off else "every service that answers is connected"
    stores = [(one.store_used_bytes, one.store_limit_bytes) for one in found]
    used, limit = next((store for store in stores if store[0] is not None), (None, None))
    if used is None:
        return [ServiceHealth("nats", not cut_off, note=note, serving=not cut_off)]
    note += f"; {_of_limit(f'store {size(used)}', limit)}"
    ready = not cut_off and limit != 0
    return [
        ServiceHealth("nats", ready, note=note, serving=not cut_off, store_used_bytes=used, store_limit_bytes=limit)
    ]


def _pools(mesh: Mesh, found: list[ServiceHealth]) -> list[ServiceHealth]:
    """A line for each pool of workers of loki, and for those of programs; none where it does not answer."""
    if not any(one.service == "loki" and one.serving for one in found):
        return []
    try:
        engines = _engines(mesh)
        return [*map(_pool, engines), *map(_of_programs, engines)]
    except (YggError, CliError):
        return []


def _pool(engine: loki_pb2.Engine) -> ServiceHealth:
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


def _of_programs(engine: loki_pb2.Engine) -> ServiceHealth:
    """The workers that deployed programs live in; none is right where no program needs one."""
    up, wanted = engine.program_workers, max(engine.desired_program_workers, engine.program_workers)
    note = f"{up} of {counted(wanted, 'worker')}, {counted(engine.program_worker_restarts, 'restart')}"
    ready = up == wanted
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
    told = [(key, value) for key, value in call.trailing_metadata() or () if isinstance(value, str)]
    about, missing = dict(told), tuple(safe(value, 32) for key, value in told if key == "ygg-away")
    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    note, lacks = _note(mesh, name) if serving else ("", ())
    away = "; ".join(f"{each} is away" for each in missing)
    starting = "" if serving or away else "it is starting or stopping"
    return ServiceHealth(
        name,
        serving and not missing and not lacks,
        version=safe(about.get("ygg-version", ""), 32),
        instance=safe(about.get("ygg-instance", ""), 63),
        uptime_s=_since(about.get("ygg-start-unix", "")),
        note="; ".join(filter(None, (away, starting, note))),
        serving=serving,
        missing=(*missing, *lacks),
        store_used_bytes=_bytes(about.get("ygg-store-used", "")),
        store_limit_bytes=_limited(_bytes(about.get("ygg-store-limit", ""))),
    )


def _bytes(told: str) -> int | None:
    return int(told) if told.isdecimal() and len(told) <= _DIGITS else None


def _limited(limit: int | None) -> int | None:
    return limit if limit is not None and limit < _ANY_STORE_BYTES else None


def _note(mesh: Mesh, name: str) -> tuple[str, tuple[str, ...]]:
    """What it holds, and which languages it lacks."""
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
    return f"{note}; two devices use one identity: {contested[0]}{more}"


def _contested(session: bridge_pb2.Session, now: datetime) -> bool:
    """Whether another device took turns with this one under its identity within the last CONTEST_S seconds."""
    if not session.HasField("identity_conflict_time"):
        return False
    return (now - moment(session.identity_conflict_time)).total_seconds() < CONTEST_S


def _ota_note(mesh: Mesh) -> str:
    stub = ota_pb2_grpc.OtaServiceStub(mesh.channel("ota"))
    return _count(mesh, "ota", stub.ListImages, ota_pb2.ListImagesRequest(page_size=_PAGE), "image")


def _loki_note(mesh: Mesh) -> tuple[str, tuple[str, ...]]:
    engines = _engines(mesh)
    runs = " and ".join(_language(engine) for engine in engines if engine.available)
    lacks = tuple(_language(engine) for engine in engines if not engine.available and engine.reason)
    notes = [f"runs {runs}"] if runs else []
    return "; ".join((*notes, *(f"no {language}" for language in lacks))) or "no engine", lacks


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
    """`2 devices`; counts at most _COUNT_PAGES pages, then says `10000+ devices`."""
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
    """nats-server by its monitoring endpoint; no line where the context has none."""
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
        return [ServiceHealth("nats", ready=False, note=f"{monitor} does not answer: {safe(why)}")]


def _refuses(store: dict[str, Any]) -> bool:
    """Whether `nats_keeper` has it refuse all writes."""
    return _limit(store) == 0


def _limit(store: dict[str, Any]) -> int | None:
    """Bytes that the mesh may store; None: any number."""
    limits = [int(account["reserved_storage"]) for account in store.get("account_details", ())]
    return _limited(limits[0]) if limits else None


def _room(store: dict[str, Any]) -> str:
    """What the store has and may have, and what its disk has left, where that is this machine's."""
    used, limit = f"store {size(store['storage'])}", _limit(store)
    with contextlib.suppress(OSError):
        used += f", disk {size(Disk.of(Path(store['config']['store_dir'])).free)} free"
    return _of_limit(used, limit)


def _of_limit(used: str, limit: int | None) -> str:
    if limit == 0:
        return f"{used}: the disk is full and writes are refused until some is freed"
    return used if limit is None else f"{used}, limit {size(limit)}"


def _json(url: str) -> dict[str, Any]:
    if not url.startswith(("http://", "https://")):
        raise ValueError("nats_monitor must be an http URL")
    with _DIRECT.open(url, timeout=CHECK_S) as answer:
        data: dict[str, Any] = json.loads(answer.read(1_000_000))
        return data
