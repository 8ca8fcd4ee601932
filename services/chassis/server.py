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
from services.chassis.reflection import FileSource, Reflection
from services.chassis.room import StoreUse
from services.chassis.rpc import RpcInterceptor
from services.domain import endpoints
from services.domain.errors import YggError

MAX_MESSAGE_BYTES = 2 * 1024 * 1024
"""The largest request is a chunk of an image, 1 MiB. Parsing so many bytes of the smallest items takes some 50 ms."""
NEEDS = "yggdrasil.needs"
"""grpc.health.v1 answers for what a service needs under this name and a dot, such as `yggdrasil.needs.registry`."""
NATS = "nats"
STORE_TIMEOUT_S = 1.0
MAX_STREAMS = 100
"""Concurrent calls of one connection; a client queues more. RFC 9113 advises no less. Until a peer acknowledges our
settings, grpcio accepts 16 MiB of headers for each: a bomb of them takes at most 2.5 MB times this."""
MAX_METADATA_BYTES = 8 * 1024
HANDSHAKE_TIMEOUT_MS, SETTINGS_TIMEOUT_MS = 10_000, 5_000
OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    # On, it lowers that limit while calls wait and refuses what a client sent before it heard: UNAVAILABLE at random.
    ("grpc.http.overload_protection", 0),
    # Calls with more metadata than the first are refused at random, with more than the second always.
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", 2 * MAX_METADATA_BYTES),
    # A peer that finishes neither TLS nor the preface and settings of HTTP/2 is gone after so long; 120 s by default.
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS),
    ("grpc.http2.settings_timeout", SETTINGS_TIMEOUT_MS),
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # How far a sender may be ahead of a slow handler; by default that grows with the delay, to tens of MiB a stream.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 256 * 1024),
)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Who serves; `start_unix_s` in seconds since 1970."""

    version: str
    instance_id: str
    start_unix_s: float


class _Health(health.aio.HealthServicer):  # type: ignore[misc]
    """grpc.health.v1 whose Check also says, as trailing metadata, who serves, what is away and how full the store is.

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
        """The state of a service, with `ygg-version`, `ygg-instance`, `ygg-start-unix` (seconds), and an `ygg-away` for
        each dependency that is away; that of the whole server `ygg-store-used` and `ygg-store-limit` (bytes), too.
        """
        away = (("ygg-away", name) for name in sorted(self.away))
        room = () if request.service else await self._room()
        context.set_trailing_metadata((*self._about, *away, *room))
        return await super().Check(request, context)

    async def _room(self) -> tuple[tuple[str, str], ...]:
        """Nothing where NATS does not say it soon."""
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
    """A server to add servicers to by their names alone.

    For a method that is registered, too, grpc.aio keeps a task that waits for its calls, and looks at the tasks of all
    methods at each call: with forty methods that is a third of what a call costs.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, *_: Any) -> None:
        """Does not."""


class RpcServer:
    """One listening gRPC server. Not serving until `start`; health says so."""

    def __init__(self, listen: str, files: IdentityFiles, about: ServerInfo) -> None:
        """Binds nothing yet. `listen` is HOST:PORT, port 0 lets the kernel choose."""
        self._listen = listen
        self._server = grpc.aio.server(interceptors=[RpcInterceptor(Authorities.of(files))], options=OPTIONS)
        self._health = _Health(about)
        self._names: list[str] = []
        self._source: FileSource | None = None
        self._reporting: asyncio.Future[None] | None = None
        self._credentials = server_credentials(files)

    def add(self, name: str, register: Callable[[grpc.aio.Server], None]) -> None:
        """Adds a service by its full name, such as `yggdrasil.registry.v1.RegistryService`."""
        register(cast("grpc.aio.Server", _Unregistered(self._server)))
        self._names.append(name)

    def add_changing(self, handler: grpc.GenericRpcHandler, source: FileSource) -> None:
        """Adds services that come and go: who serves them, and who tells what they are."""
        self._server.add_generic_rpc_handlers((handler,))
        self._source = source

    async def start(self) -> str:
        """Binds, serves, reports SERVING; returns HOST:PORT as bound; raises ListenError where it cannot."""
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
                f"cannot listen on {self._listen}", hint="The port is taken, or the address is not of this machine."
            ) from e
        await self._server.start()
        await self.set_serving(True)
        return endpoints.join(host, port)

    async def set_serving(self, serving: bool) -> None:
        """What grpc.health.v1 answers, for the whole server and each of its services."""
        state = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self._names):
            await self._health.set(name, state)

    def tell_store(self, use: Callable[[], Awaitable[StoreUse]]) -> None:
        """Health asks it from now on how full the store is."""
        self._health.store = use

    def report_dependency(self, up: bool) -> None:
        """NATS, which every RPC needs, is there or away: health follows."""
        self._reporting = asyncio.ensure_future(self._report_nats(up))

    async def _report_nats(self, up: bool) -> None:
        await self.report_need(NATS, up=up)
        await self.set_serving(up)

    async def report_need(self, name: str, *, up: bool) -> None:
        """A dependency that some RPCs need is there or away; it has a health of its own, `yggdrasil.needs.NAME`."""
        if up:
            self._health.away.discard(name)
        else:
            self._health.away.add(name)
        state = health_pb2.HealthCheckResponse.SERVING if up else health_pb2.HealthCheckResponse.NOT_SERVING
        await self._health.set(f"{NEEDS}.{name}", state)

    async def stop(self, drain_s: float) -> None:
        """Reports NOT_SERVING, takes no new calls and waits at most `drain_s` seconds for those in flight."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(drain_s)
