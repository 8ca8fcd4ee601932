"""gRPC client channels inside the mesh: mutual TLS, trace context, a reconnect backoff of at most two seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from services.chassis import telemetry
from services.chassis.identity import IdentityFiles

OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # Despite its name, how long one attempt to connect may take: on a busy machine a handshake of TLS takes a while.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Errors travel in trailers: text beyond ASCII takes nine bytes a character there, the default bound is 8 KiB.
    ("grpc.max_metadata_size", 64 * 1024),
)


def credentials(files: IdentityFiles) -> grpc.ChannelCredentials:
    """Mutual TLS with the process's own identity."""
    return grpc.ssl_channel_credentials(files.read("services.pem"), files.read("key.pem"), files.read("cert.pem"))


def connect(endpoint: str, files: IdentityFiles) -> grpc.aio.Channel:
    """A channel to HOST:PORT. It connects when first used and again by itself whenever the peer comes back."""
    return grpc.aio.secure_channel(endpoint, credentials(files), options=OPTIONS, interceptors=_interceptors())


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
