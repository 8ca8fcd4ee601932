"""gRPC client channels inside the mesh: mutual TLS, trace context, a reconnect backoff of at most two seconds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from services.chassis import telemetry
from services.chassis.credentials import credentials, options
from services.chassis.identity import IdentityFiles


def connect(endpoint: str, files: IdentityFiles, service: str) -> grpc.aio.Channel:
    """Return a channel to HOST:PORT that accepts only the certificate of `service`.

    It connects on first use, and reconnects whenever the peer is available again.
    """
    return grpc.aio.secure_channel(endpoint, credentials(files), options=options(service), interceptors=_interceptors())


async def watch(channel: grpc.aio.Channel, report: Callable[[bool], Awaitable[None]]) -> None:
    """Keep the channel connected; report the initial state and every change. Ends when the channel is closed."""
    await report(False)
    while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.SHUTDOWN:
        if state in (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE):
            await report(state is grpc.ChannelConnectivity.READY)
        await channel.wait_for_state_change(state)


async def _traced(continuation: Callable[..., Any], details: Any, request: Any) -> Any:
    headers = telemetry.inject()
    if headers:
        metadata = details.metadata or grpc.aio.Metadata()
        for key, value in headers.items():
            metadata.add(key, value)
        details = details._replace(metadata=metadata)
    return await continuation(details, request)


class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    intercept_unary_unary = staticmethod(_traced)  # type: ignore[assignment]


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream = staticmethod(_traced)  # type: ignore[assignment]


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary = staticmethod(_traced)  # type: ignore[assignment]


class _StreamStream(grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream = staticmethod(_traced)  # type: ignore[assignment]


def _interceptors() -> list[Any]:
    return [_UnaryUnary(), _UnaryStream(), _StreamUnary(), _StreamStream()]
