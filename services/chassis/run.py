"""What every service's `__main__` does, once: settings, logs, telemetry, NATS, the gRPC server, a graceful stop.

A service gives `run` its name, its settings and a `compose` function that builds its objects from the Runtime.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc.aio
import uvloop
from nats.errors import NoServersError
from nats.js import JetStreamContext

from services.chassis import logs, nats, settings, telemetry
from services.chassis.arrivals import raise_descriptor_limit
from services.chassis.channel import watch
from services.chassis.errors import StoreUnavailableError
from services.chassis.identity import IdentityFiles
from services.chassis.nats import Connection
from services.chassis.room import store_use
from services.chassis.server import RpcServer, ServerInfo
from services.chassis.settings import ServiceSettings
from services.chassis.version import package_version
from services.domain.errors import YggError

_log = logging.getLogger(__name__)
FORCED_STOP_S = 10.0
"""How long a stop may take beyond the draining of calls, in seconds."""
S = TypeVar("S", bound=ServiceSettings)


@dataclass(frozen=True, slots=True)
class Runtime(Generic[S]):
    """What a service is built from. Things put on `stack` are closed, last first, after the server has stopped."""

    settings: S
    files: IdentityFiles
    nats: Connection
    js: JetStreamContext
    server: RpcServer
    tasks: asyncio.TaskGroup
    stack: contextlib.AsyncExitStack
    stopping: asyncio.Event

    def spawn(self, task: Coroutine[Any, Any, None], name: str) -> None:
        """Runs a background task until the service stops; if it fails, the service fails."""
        running = self.tasks.create_task(task, name=name)
        self.stack.callback(running.cancel)

    def needs(self, service: str, by: grpc.aio.Channel) -> None:
        """Health says from now on whether that service can be reached."""

        async def report(up: bool) -> None:
            await self.server.report_need(service, up=up)

        self.spawn(watch(by, report), f"watch {service}")


Compose = Callable[[Runtime[S]], Awaitable[dict[str, str]]]


def run(name: str, kind: type[S], compose: Compose[S]) -> None:
    """Runs the service until SIGTERM or SIGINT. Exit status 2 for faults of the settings, 1 for any other failure.

    `compose` adds the service's servicers to `Runtime.server`, starts its tasks, and returns whatever addresses it
    listens on beside gRPC, for the log.
    """
    try:
        found = settings.load(kind)
    except YggError as e:
        sys.stderr.write(f"{name}: {e.message}. {e.hint}\n")
        raise SystemExit(2) from None
    faulthandler.enable()  # where a crash of native code happened goes to the log, as plain lines
    logs.configure(name, found.instance_id, found.log_level)
    raise_descriptor_limit()
    try:
        uvloop.run(_serve(name, found, compose))
    except YggError as e:
        _tell(e)
        raise SystemExit(1) from None
    except BaseExceptionGroup as group:
        known, others = group.split(YggError)
        for error in _leaves(known):
            _tell(error)
        if others:
            _log.critical("stopped by a failure of its own", exc_info=others)
        raise SystemExit(1) from None


def _tell(error: BaseException) -> None:
    extra = {"hint": error.hint, "reason": error.reason} if isinstance(error, YggError) else {}
    _log.critical(str(error), extra=extra)


def _leaves(group: BaseException | None) -> Iterator[BaseException]:
    if isinstance(group, BaseExceptionGroup):
        for inner in group.exceptions:
            yield from _leaves(inner)
    elif group is not None:
        yield group


async def _serve(name: str, found: S, compose: Compose[S]) -> None:
    stopping, started = asyncio.Event(), asyncio.Event()
    _heed_signals(stopping, started)
    provider = telemetry.configure(name, found.instance_id, package_version())
    files = IdentityFiles(found.identity)
    try:
        async with (
            _connected(found, files, name) as connection,
            asyncio.TaskGroup() as tasks,
            contextlib.AsyncExitStack() as stack,
        ):
            about = ServerInfo(package_version(), found.instance_id, time.time())
            server = RpcServer(found.listen, files, about)
            js = nats.jetstream(connection.client)
            server.tell_store(lambda: store_use(js))
            runtime = Runtime(found, files, connection, js, server, tasks, stack, stopping)
            runtime.spawn(_end_with(connection, name), "nats closed")
            others = await compose(runtime)
            listen = await server.start()
            connection.on_change = server.report_dependency
            server.report_dependency(connection.client.is_connected)
            started.set()
            _log.info("ready", extra={"listen": listen, **others})
            await stopping.wait()
            _log.info("stopping", extra={"drain_s": found.drain_s})
            asyncio.get_running_loop().call_later(found.drain_s + FORCED_STOP_S, _force, name)
            await server.stop(found.drain_s)
    except asyncio.CancelledError:
        if started.is_set() or not stopping.is_set():
            raise
    finally:
        provider.shutdown()
    _log.info("stopped")


async def _end_with(connection: Connection, name: str) -> None:
    """Raise StoreUnavailableError once the connection is closed for good: the supervisor starts the service again."""
    await connection.closed.wait()
    asyncio.get_running_loop().call_later(FORCED_STOP_S, _force, name)
    raise StoreUnavailableError(
        f"the connection to NATS was closed: {connection.why_closed}", hint="The service ends and starts again."
    )


def _force(name: str) -> None:
    """The last resort of a stop: what waits for something that is gone, such as NATS, does not keep the process."""
    _log.critical("stopping took too long: ended by force", extra={"what": name})
    os._exit(1)


def _heed_signals(stopping: asyncio.Event, started: asyncio.Event) -> None:
    """SIGTERM and SIGINT set `stopping`; before `started`, when nobody waits for that, they cancel the current task."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def stop() -> None:
        stopping.set()
        if task is not None and not started.is_set():
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


@contextlib.asynccontextmanager
async def _connected(found: ServiceSettings, files: IdentityFiles, name: str) -> AsyncIterator[Connection]:
    try:
        async with nats.connect(found.nats_url, files, name) as connection:
            yield connection
    except NoServersError as e:
        raise StoreUnavailableError(
            f"no NATS server answers at {found.nats_url}", hint="Start it, or set NATS_URL of this service."
        ) from e
