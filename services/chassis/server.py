"""The gRPC server of a service: mutual TLS, health, reflection, limits, graceful stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from services.chassis.authorities import Authorities
from services.chassis.credentials import server_credentials
from services.chassis.errors import ListenError
from services.chassis.identity import IdentityFiles
from services.chassis.quota import StoreUse
from services.chassis.reflection import FileSource, Reflection
from services.chassis.rpc import RpcInterceptor
from services.domain import endpoints
from services.domain.errors import YggError

MAX_MESSAGE_BYTES = 2 * 1024 * 1024
"""Maximum size of a request. The largest is a chunk of an image, 1 MiB; parsing 2 MiB of the smallest items takes 50
ms.
"""
NEEDS = "yggdrasil.needs"
"""Prefix of the grpc.health.v1 names of dependencies, such as `yggdrasil.needs.registry`."""
NATS = "nats"
STORE_TIMEOUT_S = 1.0
"""Maximum time that Check waits for the storage usage, in seconds: shorter than the timeout of any probe."""
MAX_STREAMS = 100
"""Maximum concurrent calls of one connection; a client queues more. RFC 9113 advises no less. Until a peer acknowledges
our settings, grpcio accepts 16 MiB of headers per call, so a header bomb takes at most 2.5 MB times this.
"""
MAX_METADATA_BYTES = 8 * 1024
"""Maximum metadata of a call: gRPC's default."""
HANDSHAKE_TIMEOUT_MS = 10_000
"""Timeout of TLS."""
SETTINGS_TIMEOUT_MS = 5_000
"""Timeout of HTTP/2's preface and settings."""
OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    # If enabled, it lowers that limit while calls are queued and randomly rejects early calls with UNAVAILABLE.
    ("grpc.http.overload_protection", 0),
    # Metadata above the first limit is rejected at random, above the second always.
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", 2 * MAX_METADATA_BYTES),
    # Timeouts for a peer that does not finish TLS or HTTP/2's preface and settings; 120 s by default.
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS),
    ("grpc.http2.settings_timeout", SETTINGS_TIMEOUT_MS),
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Bytes that a sender may be ahead of a slow handler; by default this grows with latency, to tens of MiB a stream.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 256 * 1024),
)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Identity of the serving process; `start_unix_s` in seconds since 1970."""

    version: str
    instance_id: str
    start_unix_s: float


class _Health(health.aio.HealthServicer):  # type: ignore[misc]
    """grpc.health.v1 with trailing metadata in Check: the serving process, unavailable dependencies and storage usage.

    `ygg status` shows it.
    """

    def __init__(self, about: ServerInfo) -> None:
        super().__init__()
        self.away: set[str] = set()
        self.store: Callable[[], Awaitable[StoreUse]] | None = None
        self._about = (
            ("ygg-version", about.version),
            ("ygg-instance", about.instance_id),
            ("ygg-start-unix", f"{about.start_unix_s:.3f}"),
        )

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name is the protocol's
        """Return the state of a service. The trailing metadata has `ygg-version`, `ygg-instance`, `ygg-start-unix`
        (seconds) and an `ygg-away` for each unavailable dependency; for the whole server also `ygg-store-used` and
        `ygg-store-limit` (bytes).
        """
        away = (("ygg-away", name) for name in sorted(self.away))
        store = () if request.service else await self._store_metadata()
        context.set_trailing_metadata((*self._about, *away, *store))
        return await super().Check(request, context)

    async def _store_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the storage metadata, empty if NATS does not respond within STORE_TIMEOUT_S."""
        if self.store is None or NATS in self.away:
            return ()
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                use = await self.store()
        except (YggError, TimeoutError):
            return ()
        limit = () if use.limit_bytes is None else (("ygg-store-limit", str(use.limit_bytes)),)
        return (("ygg-store-used", str(use.used_bytes)), *limit)


class _Unregistered:
    """A server that accepts servicers only as generic handlers.

    For each registered method grpc.aio keeps a task that waits for calls, and it examines the tasks of all methods at
    every call: with forty methods that is a third of the cost of a call.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, *_: Any) -> None:
        """Do nothing: the generic handlers serve these methods."""


class RpcServer:
    """One listening gRPC server. Health reports NOT_SERVING until `start`."""

    def __init__(self, listen: str, files: IdentityFiles, about: ServerInfo) -> None:
        """Prepare a server on `listen`, HOST:PORT, without binding it; port 0 lets the kernel choose."""
        self._listen = listen
        self._server = grpc.aio.server(interceptors=[RpcInterceptor(Authorities.of(files))], options=OPTIONS)
        self._health = _Health(about)
        self._names: list[str] = []
        self._source: FileSource | None = None
        self._reporting: asyncio.Future[None] | None = None
        self._credentials = server_credentials(files)

    def add(self, name: str, register: Callable[[grpc.aio.Server], None]) -> None:
        """Add a service by its full name, such as `yggdrasil.registry.v1.RegistryService`."""
        register(cast("grpc.aio.Server", _Unregistered(self._server)))
        self._names.append(name)

    def add_dynamic(self, handler: grpc.GenericRpcHandler, source: FileSource) -> None:
        """Add services that change at run time: the handler serves them, the source describes them."""
        self._server.add_generic_rpc_handlers((handler,))
        self._source = source

    async def start(self) -> str:
        """Bind, serve and report SERVING; return HOST:PORT as bound. Raises ListenError."""
        host, _ = endpoints.split(self._listen)
        unregistered = cast("grpc.aio.Server", _Unregistered(self._server))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, unregistered)
        listed: Iterable[str] = (*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME)
        described = Reflection(listed, self._source)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(described, unregistered)
        try:
            port = self._server.add_secure_port(self._listen, self._credentials)
        except RuntimeError as e:
            raise ListenError(
                f"cannot listen on {self._listen}", hint="The port is in use, or the address is not of this machine."
            ) from e
        await self._server.start()
        await self.set_serving(True)
        return endpoints.join(host, port)

    async def set_serving(self, serving: bool) -> None:
        """Set the state of the whole server and each of its services in grpc.health.v1."""
        state = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self._names):
            await self._health.set(name, state)

    def set_store_usage(self, use: Callable[[], Awaitable[StoreUse]]) -> None:
        """Report storage usage from `use` in health from now on."""
        self._health.store = use

    def report_nats(self, up: bool) -> None:
        """Report the availability of NATS, which every RPC needs: the whole server's health follows."""
        self._reporting = asyncio.ensure_future(self._report_nats(up))

    async def _report_nats(self, up: bool) -> None:
        await self.report_dependency(NATS, up=up)
        await self.set_serving(up)

    async def report_dependency(self, name: str, *, up: bool) -> None:
        """Report the availability of a dependency of some RPCs as the health of `yggdrasil.needs.NAME`."""
        if up:
            self._health.away.discard(name)
        else:
            self._health.away.add(name)
        state = health_pb2.HealthCheckResponse.SERVING if up else health_pb2.HealthCheckResponse.NOT_SERVING
        await self._health.set(f"{NEEDS}.{name}", state)

    async def stop(self, drain_s: float) -> None:
        """Report NOT_SERVING, reject new calls and wait at most `drain_s` seconds for those in flight."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(drain_s)
