"""Wait until a mesh is ready: nats-server healthy, grpc.health.v1 SERVING on every service."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.chassis.credentials import credentials, options
from services.chassis.identity import IdentityFiles
from services.domain import endpoints
from ygg.contexts import SERVICES, Context

_STEP_S = 0.05
_CHECK_S = 2.0


async def wait_service(context: Context, service: str, *, whole: bool = False) -> None:
    """Wait until the service reports SERVING and, if `whole`, all its dependencies are available. No timeout."""
    await _wait_listening(*endpoints.split(context.endpoint(service)))
    channel_credentials = credentials(IdentityFiles(Path(context.identity)))
    request = health_pb2.HealthCheckRequest()
    endpoint, chosen = context.endpoint(service), options(service)
    async with grpc.aio.secure_channel(endpoint, channel_credentials, options=chosen) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                call = stub.Check(request, timeout=_CHECK_S)
                answer, about = await call, await call.trailing_metadata()
                if answer.status == health_pb2.HealthCheckResponse.SERVING and not (whole and "ygg-away" in about):
                    return
            await asyncio.sleep(_STEP_S)


async def wait_nats(context: Context) -> None:
    """Wait until nats-server and its JetStream are healthy. No timeout."""
    host, port = endpoints.split(context.nats_monitor.removeprefix("http://"))
    while True:
        # Not wait_for: before Python 3.12 it loses a cancellation that coincides with a refused connection.
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_CHECK_S):
                if b" 200 " in await _get(host, port, "/healthz"):
                    return
        await asyncio.sleep(_STEP_S)


async def wait(context: Context, name: str) -> None:
    """Wait until a service, or `nats`, is ready. No timeout."""
    await (wait_nats(context) if name == "nats" else wait_service(context, name))


async def wait_all(context: Context) -> None:
    """Wait until the whole mesh is ready. No timeout: the caller must set one."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(wait_nats(context))
        for name in SERVICES:
            tasks.create_task(wait_service(context, name, whole=True))


async def _wait_listening(host: str, port: int) -> None:
    """Poll until the port is open; a gRPC channel would back off and notice later."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            return
        await asyncio.sleep(_STEP_S)


async def _get(host: str, port: int, path: str) -> bytes:
    """Return the status line of an HTTP GET."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {endpoints.join(host, port)}\r\nConnection: close\r\n\r\n".encode())
        return await reader.readline()
    finally:
        writer.close()
