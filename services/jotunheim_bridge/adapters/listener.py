"""The TLS listener of the device link: sockets to frames and back.

A Protocol and no streams or tasks per device once it is active, so that an idle device costs little memory. One sweep
a second looks for silent devices. A peer that breaks a rule loses its own link and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from services.chassis.errors import IdentityError
from services.chassis.identity import of_sans
from services.domain import ids
from services.domain.errors import InvalidIdError
from services.domain.subjects import TENANT
from services.jotunheim_bridge.errors import LinkError
from services.jotunheim_bridge.model import framing
from services.jotunheim_bridge.ports import Clock
from services.jotunheim_bridge.service.bridge import Bridge
from services.jotunheim_bridge.service.session import Session
from yggdrasil.device.v1 import link_pb2 as link

ALPN = "einherjar/1"
HANDSHAKE_TIMEOUT_S = 10.0
SILENT_HEARTBEATS = 3
INBOX_LIMIT = 128
BACKLOG = 1024
CLOSE_GRACE_S = 2.0
KERNEL_BUFFER_BYTES = 64 * 1024
"""What the kernel holds for a device that does not read; by itself it would go to megabytes for each."""
UNREAD_PAUSE_BYTES = 64 * 1024
"""A device that has left so much unread is not read from either."""
UNREAD_LIMIT_BYTES = 256 * 1024
"""With so much unread its link ends."""
_log = logging.getLogger(__name__)


class DeviceConnection(asyncio.Protocol):
    """One device's socket. Implements the port Wire."""

    def __init__(self, bridge: Bridge, clock: Clock, open_connections: set[DeviceConnection]) -> None:
        self._bridge, self._clock, self._open = bridge, clock, open_connections
        self._decoder = framing.FrameDecoder()
        self._record_bytes = framing.HELLO_FRAME_BYTES
        self._inbox: asyncio.Queue[link.Frame | None] = asyncio.Queue(INBOX_LIMIT + 1)
        self._session: Session | None = None
        self._negotiation: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._heard_s = clock.monotonic()
        self.device_id = self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is done: the certificate says who it is."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(UNREAD_PAUSE_BYTES)
        host, port = (transport.get_extra_info("peername") or ("?", 0))[:2]
        self.peer = f"{host}:{port}"
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        try:
            if tls.selected_alpn_protocol() != ALPN:
                raise IdentityError(f"the peer does not speak {ALPN}")
            self.device_id = device_of(tls.getpeercert() or {}, self._clock.now().timestamp())
        except IdentityError as e:
            _log.warning("peer refused", extra={"peer": self.peer, "why": e.message})
            self._transport.abort()
            return
        self._open.add(self)
        self._negotiation = asyncio.get_running_loop().create_task(self._negotiate())

    async def _negotiate(self) -> None:
        session = await self._bridge.attach(self.device_id, self, self._receive)
        self._negotiation = None
        if session is None:
            return
        if self._transport is None or self._transport.is_closing():
            self._bridge.detach(session, "connection lost")
            return
        self._session = session
        waiting = [self._inbox.get_nowait() for _ in range(self._inbox.qsize())]
        self._take(frame for frame in waiting if frame is not None)

    async def _receive(self) -> link.Frame:
        frame = await self._inbox.get()
        if frame is None:
            raise LinkError(link.GOODBYE_CODE_TIMEOUT, "connection lost")
        return frame

    def data_received(self, data: bytes) -> None:
        """Frames to the negotiation or the session."""
        self._heard_s = self._clock.monotonic()
        self._take(self._decoder.feed(data))

    def _take(self, frames: Iterable[link.Frame]) -> None:
        try:
            for frame in frames:
                if self._transport is None or self._transport.is_closing():
                    return
                if self._session is not None:
                    self._session.handle(frame)
                elif self._inbox.qsize() >= INBOX_LIMIT:
                    raise LinkError(link.GOODBYE_CODE_FLOOD, "too many frames before the contract")
                else:
                    self._inbox.put_nowait(frame)
        except LinkError as e:
            self._break(e)
        if self._session is not None:
            self._bridge.kick(self._session)
            if self._session.ended:
                self._bridge.detach(self._session, self._session.end_reason)

    def _break(self, error: LinkError) -> None:
        _log.warning("link broken", extra={"device": self.device_id, "peer": self.peer, "why": error.message})
        self.close(link.Frame(goodbye=error.frame()))
        if self._session is not None:
            self._session.end(error.message)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._open.discard(self)
        self._transport = None
        if self._negotiation is not None:  # not cancelled: what it has claimed it must release
            self._inbox.put_nowait(None)
        if self._session is not None:
            self._bridge.detach(self._session, "connection lost")

    def eof_received(self) -> bool:
        """The peer has closed its half; so do we."""
        return False

    def pause_writing(self) -> None:
        """The device does not take what it is sent: nothing more is read from it, so it is answered nothing more."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The device reads again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def sweep(self, heartbeat_s: float) -> None:
        """Ends the link of a device that was silent for SILENT_HEARTBEATS heartbeats."""
        if self._session is None or self._clock.monotonic() - self._heard_s <= SILENT_HEARTBEATS * heartbeat_s:
            return
        session, self._session = self._session, None
        session.close(link.GOODBYE_CODE_TIMEOUT, "silent for too long")
        self._bridge.detach(session, "silent for too long")

    def send(self, frame: link.Frame) -> None:
        """Sends a frame, in TLS records no larger than the device can receive."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > UNREAD_LIMIT_BYTES:
            _log.warning("link broken", extra={"device": self.device_id, "peer": self.peer, "why": "it does not read"})
            self._transport.abort()
            return
        data = framing.encode(frame)
        for start in range(0, len(data), self._record_bytes):
            self._transport.write(data[start : start + self._record_bytes])

    def close(self, frame: link.Frame | None = None) -> None:
        """Sends a last frame and ends the link, by force after CLOSE_GRACE_S seconds."""
        if frame is not None:
            self.send(frame)
        if self._transport is not None:
            self._transport.close()
            asyncio.get_running_loop().call_later(CLOSE_GRACE_S, self._transport.abort)

    def set_limits(self, rx_frame_bytes: int, rx_record_bytes: int) -> None:
        """What is accepted in a frame from now on, and the largest TLS record to write, in bytes."""
        self._decoder.limit_bytes, self._record_bytes = rx_frame_bytes, rx_record_bytes


def device_of(certificate: Mapping[str, Any], now_unix_s: float) -> str:
    """The device that a certificate is of; raises IdentityError.

    Called on every connection: a resumed one has no handshake that would look at the dates again (RFC 8446, 2.2).
    """
    if ssl.cert_time_to_seconds(certificate.get("notAfter", "Jan  1 00:00:00 1970 GMT")) <= now_unix_s:
        raise IdentityError("the certificate has expired")
    who = of_sans([value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"])
    if who.kind != "device" or who.tenant != TENANT:
        raise IdentityError(f"{who.uri} is not a device of tenant {TENANT}")
    try:
        return ids.device_id(who.id)
    except InvalidIdError as e:
        raise IdentityError(e.message, hint=e.hint) from e


class DeviceListener:
    """Listens for devices."""

    def __init__(self, bridge: Bridge, clock: Clock, context: ssl.SSLContext, heartbeat_s: float) -> None:
        self._bridge, self._clock, self._context, self._heartbeat_s = bridge, clock, context, heartbeat_s
        self._open: set[DeviceConnection] = set()
        self._server: asyncio.Server | None = None
        context.set_alpn_protocols([ALPN])

    async def start(self, listen: str) -> str:
        """Binds HOST:PORT; returns it as bound."""
        host, _, port = listen.rpartition(":")
        make: Callable[[], DeviceConnection] = lambda: DeviceConnection(self._bridge, self._clock, self._open)  # noqa: E731
        self._server = await asyncio.get_running_loop().create_server(
            make,
            host.strip("[]"),
            int(port),
            ssl=self._context,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            ssl_shutdown_timeout=CLOSE_GRACE_S,
            backlog=BACKLOG,
        )
        for listening in self._server.sockets:  # what is accepted inherits it
            with socket.socket(fileno=os.dup(listening.fileno())) as plain:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER_BYTES)
        return f"{host}:{self._server.sockets[0].getsockname()[1]}"

    async def sweep(self) -> None:
        """Looks for silent devices once a second until cancelled."""
        while True:
            await asyncio.sleep(1)
            for connection in tuple(self._open):
                connection.sweep(self._heartbeat_s)

    async def stop(self, others: list[str]) -> None:
        """Takes no new devices and says goodbye to those there are; `others` (HOST:PORT) is where they may go."""
        if self._server is not None:
            self._server.close()
        await self._bridge.drain(others)
        for connection in tuple(self._open):
            connection.close()
        if self._server is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_GRACE_S):
                    await self._server.wait_closed()
