"""What gRPC connections are made with: mutual TLS 1.3, and for clients a reconnect backoff of at most two seconds.

Apart from `channel`, so that the command line pays neither for asyncio nor for telemetry.
"""

from __future__ import annotations

from typing import Any

import grpc

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


def server_credentials(files: IdentityFiles) -> grpc.ServerCredentials:
    """TLS 1.3 for callers with a certificate of the CAs in `clients.pem`."""
    return grpc.ssl_server_credentials(
        [(files.read("key.pem"), files.read("cert.pem"))], files.read("clients.pem"), require_client_auth=True
    )


def options(service: str) -> tuple[tuple[str, Any], ...]:
    """Of a channel to `service`, such as `jotunheim_bridge`: only its own certificate is accepted there.

    Each service's certificate carries the service's name among its host names, whatever host it runs on.
    """
    return (*OPTIONS, ("grpc.ssl_target_name_override", service.replace("_", "-")))


def credentials(files: IdentityFiles) -> grpc.ChannelCredentials:
    """Mutual TLS 1.3 with the process's own identity."""
    return grpc.ssl_channel_credentials(files.read("services.pem"), files.read("key.pem"), files.read("cert.pem"))
