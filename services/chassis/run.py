"""Main function of every service: settings, logs, telemetry, NATS, the gRPC server, a graceful stop.

A service passes its name, its settings class and a `compose` function that builds its objects from the Runtime.
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
from services.chassis.quota import store_use
from services.chassis.server import RpcServer, ServerInfo
from services.chassis.settings import ServiceSettings
from services.chassis.version import package_version
from services.domain.errors import YggError

_log = logging.getLogger(__name__)
FORCED_STOP_S = 10.0
"""Maximum duration of a stop after the calls are drained, in seconds."""
S = TypeVar("S", bound=ServiceSettings)


@dataclass(frozen=True, slots=True)
class Runtime(Generic[S]):
    """The resources that a service is built from. `stack` is closed in reverse order after the server has stopped."""

    settings: S
    files: IdentityFiles
    nats: Connection
    js: JetStreamContext
    server: RpcServer
    tasks: asyncio.TaskGroup
    stack: contextlib.AsyncExitStack
    stopping: asyncio.Event

    def spawn(self, task: Coroutine[Any, Any, None], name: str) -> None:
        """Run a background task until the service stops; if it fails, the service fails."""
        running = self.tasks.create_task(task, name=name)
        self.stack.callback(running.cancel)

    def depends_on(self, service: str, channel: grpc.aio.Channel) -> None:
        """Report the availability of that service in health from now on."""

        async def report(up: bool) -> None:
            await self.server.report_dependency(service, up=up)

        self.spawn(watch(channel, report), f"watch {service}")


Compose = Callable[[Runtime[S]], Awaitable[dict[str, str]]]


def run(name: str, kind: type[S], compose: Compose[S]) -> None:
    """Run the service until SIGTERM or SIGINT. Exit status 2 for invalid settings, 1 for any other failure.

    `compose` adds the service's servicers to `Runtime.server`, starts its tasks, and returns the addresses that it
    listens on besides gRPC, for the log.
    """
    try:
        found = settings.load(kind)
    except YggError as e:
        sys.stderr.write(f"{name}: {e.message}. {e.hint}\n")
        raise SystemExit(2) from None
    faulthandler.enable()  # on a crash of native code, writes its stack to the log as plain lines
    logs.configure(name, found.instance_id, found.log_level)
    raise_descriptor_limit()
    try:
        uvloop.run(_serve(name, found, compose))
    except YggError as e:
        _log_error(e)
        raise SystemExit(1) from None
    except BaseExceptionGroup as group:
        known, others = group.split(YggError)
        for error in _leaves(known):
            _log_error(error)
        if others:
            _log.critical("service failed", exc_info=others)
        raise SystemExit(1) from None


def _log_error(error: BaseException) -> None:
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
    _handle_signals(stopping, started)
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
            server.set_store_usage(lambda: store_use(js))
            runtime = Runtime(found, files, connection, js, server, tasks, stack, stopping)
            runtime.spawn(_fail_when_closed(connection, name), "nats closed")
            others = await compose(runtime)
            listen = await server.start()
            connection.on_change = server.report_nats
            server.report_nats(connection.client.is_connected)
            started.set()
            _log.info("ready", extra={"listen": listen, **others})
            await stopping.wait()
            _log.info("stopping", extra={"drain_s": found.drain_s})
            asyncio.get_running_loop().call_later(found.drain_s + FORCED_STOP_S, _exit_forced, name)
            await server.stop(found.drain_s)
    except asyncio.CancelledError:
        if started.is_set() or not stopping.is_set():
            raise
    finally:
        provider.shutdown()
    _log.info("stopped")


async def _fail_when_closed(connection: Connection, name: str) -> None:
    """Raise StoreUnavailableError once the connection is closed for good, for the supervisor to restart the service."""
    await connection.closed.wait()
    asyncio.get_running_loop().call_later(FORCED_STOP_S, _exit_forced, name)
    raise StoreUnavailableError(
        f"the connection to NATS was closed: {connection.close_reason}", hint="The service exits and is restarted."
    )


def _exit_forced(name: str) -> None:
    """Exit at once. The last resort of a stop that waits for something unavailable, such as NATS."""
    _log.critical("stop timed out", extra={"what": name})
    os._exit(1)


def _handle_signals(stopping: asyncio.Event, started: asyncio.Event) -> None:
    """Set `stopping` on SIGTERM and SIGINT; before `started`, when nothing waits for it, cancel the current task."""
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
