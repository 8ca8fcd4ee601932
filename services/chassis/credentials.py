"""Credentials and options of gRPC connections: mutual TLS 1.3; clients reconnect with a backoff of at most 2 s.

Separate from `channel`, so that the command line loads neither asyncio nor telemetry.
"""

from __future__ import annotations

from typing import Any

import grpc

from services.chassis.identity import IdentityFiles

OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # Despite its name, the timeout of one connection attempt; a TLS handshake takes a while on a busy machine.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Errors travel in trailers: non-ASCII text takes nine bytes a character there, and the default limit is 8 KiB.
    ("grpc.max_metadata_size", 64 * 1024),
)


def server_credentials(files: IdentityFiles) -> grpc.ServerCredentials:
    """Return TLS 1.3 credentials that accept callers with a certificate of a CA in `clients.pem`."""
    return grpc.ssl_server_credentials(
        [(files.read("key.pem"), files.read("cert.pem"))], files.read("clients.pem"), require_client_auth=True
    )


def options(service: str) -> tuple[tuple[str, Any], ...]:
    """Return the options of a channel to `service`, such as `jotunheim_bridge`, that accept only its certificate.

    Each service's certificate has the service's name among its host names, whatever host it runs on.
    """
    return (*OPTIONS, ("grpc.ssl_target_name_override", service.replace("_", "-")))


def credentials(files: IdentityFiles) -> grpc.ChannelCredentials:
    """Return mutual TLS 1.3 credentials with the process's own identity."""
    return grpc.ssl_channel_credentials(files.read("services.pem"), files.read("key.pem"), files.read("cert.pem"))
