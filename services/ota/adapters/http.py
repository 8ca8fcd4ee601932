"""`GET /images/<token>` over mutual TLS, for devices that fetch an image outside the device link. Port 7444.

Trusts the device CA only; the URI of the certificate identifies the device. No URL of an object store is ever exposed:
a token is valid for one device, for 900 s, until the last byte was served.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import ssl
import time
from typing import Any

from aiohttp import web

from services.chassis.arrivals import Bounds, Clock, cap_connections
from services.chassis.errors import IdentityError
from services.chassis.identity import of_sans
from services.chassis.tls_listener import TlsListener
from services.domain.errors import YggError
from services.ota.errors import DownloadForbiddenError
from services.ota.model import download as rules
from services.ota.service.downloads import Downloads

KEEP_ALIVE_S = 15.0
"""Idle time before a connection is closed, in seconds."""
MAX_CONNECTIONS = 2048
MAX_HANDSHAKES = 64
"""Connections in their TLS handshake, out of MAX_CONNECTIONS."""
_log = logging.getLogger(__name__)


class ImageServer:
    """The HTTPS listener for images."""

    def __init__(self, downloads: Downloads, tls: ssl.SSLContext, clock: Clock) -> None:
        self._downloads = downloads
        app = web.Application(client_max_size=1024)
        app.router.add_get("/images/{token}", self._get, allow_head=False)
        self._runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=KEEP_ALIVE_S, handle_signals=False, shutdown_timeout=2.0
        )
        bounds = Bounds(cap_connections(MAX_CONNECTIONS), MAX_HANDSHAKES)
        self._listener = TlsListener(tls, bounds, clock, self._protocol, lambda: len(self._server.connections))

    async def start(self, listen: str) -> str:
        """Bind and serve; return HOST:PORT as bound. Raises ListenError."""
        await self._runner.setup()
        return await self._listener.start(listen)

    async def sweep(self) -> None:
        """End stalled handshakes, until cancelled. Must run while the server does."""
        await self._listener.sweep()

    @property
    def _server(self) -> web.Server:
        server = self._runner.server
        assert server is not None  # noqa: S101 - from `start` on
        return server

    def _protocol(self) -> asyncio.BaseProtocol:
        return self._server()

    async def stop(self) -> None:
        """Close the listener and all connections."""
        self._listener.stop()
        await self._runner.cleanup()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        try:
            row = await self._downloads.open(request.match_info["token"], *_device(request))
        except (DownloadForbiddenError, IdentityError):
            return web.Response(status=403, text="forbidden\n")
        except YggError as e:
            _log.warning("download failed", extra={"why": e.message})
            return web.Response(status=503, text="unavailable\n")
        size = row.value.size_bytes
        range_header = request.headers.get("Range", "")
        found = rules.byte_range(range_header, size)
        if found is None:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
        start, length = found
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(length),
            "Accept-Ranges": "bytes",
            "Cache-Control": "no-store",
            "ETag": f'"{row.value.image_sha256}"',
            # RFC 9530: of the whole image, whatever range is sent.
            "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(row.value.image_sha256)).decode()}:",
        }
        partial = bool(range_header) and length < size
        if partial:
            headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
        response = web.StreamResponse(status=206 if partial else 200, headers=headers)
        await response.prepare(request)
        try:
            # A client that does not read would block `write` forever.
            async with asyncio.timeout(self._downloads.remaining_s(row)):
                async with contextlib.aclosing(self._downloads.read(row, start, length)) as parts:
                    async for part in parts:
                        await response.write(part)
                await response.write_eof()
        except (YggError, TimeoutError) as e:
            # The headers are sent: the only way to signal failure is to close the connection early.
            _log.warning("download aborted", extra={"why": str(e) or "the token expired"})
            if request.transport is not None:
                request.transport.abort()
        return response


def _device(request: web.Request) -> tuple[str, float]:
    """Return the device id of a currently valid certificate and its start time; raises IdentityError."""
    cert: dict[str, Any] = request.get_extra_info("peercert") or {}
    identity = of_sans([value for kind, value in cert.get("subjectAltName", ()) if kind == "URI"])
    if identity.kind != "device" or ssl.cert_time_to_seconds(cert["notAfter"]) < time.time():
        raise IdentityError("not a valid device certificate")
    return identity.id, float(ssl.cert_time_to_seconds(cert["notBefore"]))
