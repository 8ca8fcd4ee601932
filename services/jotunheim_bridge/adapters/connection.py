"""One device connection after its TLS handshake: bytes to frames and back.

An asyncio Protocol, without streams or tasks once the session is active, so that an idle device costs little memory. A
peer that violates the protocol loses its own link and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from services.chassis.arrivals import source_of
from services.chassis.errors import IdentityError
from services.chassis.identity import of_sans
from services.chassis.logs import Throttle
from services.domain import endpoints, ids
from services.domain.errors import InvalidIdError
from services.domain.subjects import TENANT
from services.jotunheim_bridge.errors import LinkError
from services.jotunheim_bridge.model import framing
from services.jotunheim_bridge.model.negotiation import MIN_RECORD_BYTES
from services.jotunheim_bridge.ports import UNREAD_LIMIT_BYTES, Clock
from services.jotunheim_bridge.service.bridge import Bridge
from services.jotunheim_bridge.service.session import Session
from yggdrasil.device.v1 import link_pb2 as link

ALPN = "einherjar/1"
SILENT_HEARTBEATS = 3
"""Silent heartbeats after which a session ends."""
INBOX_LIMIT = 128
"""Frames buffered during the negotiation."""
CLOSE_GRACE_S = 2.0
"""Time for the last frame before the socket is aborted, in seconds."""
UNREAD_PAUSE_BYTES = 64 * 1024
"""Above this amount of unread output the bridge also stops reading from the device."""
_log = logging.getLogger(__name__)
_throttle = Throttle()
_negotiations: set[asyncio.Task[None]] = set()
"""Strong references: the event loop keeps only weak ones to its tasks."""


class DeviceConnection(asyncio.Protocol):
    """The socket of one device. Implements the port Wire. Calls `on_settled` once, after the contract or at the end."""

    __slots__ = (
        *("_bridge", "_clock", "_open", "_on_settled", "_decoder", "_record_bytes", "_inbox", "_session"),
        *("_transport", "_received_s", "device_id", "peer", "certified_unix_s", "expires_unix_s"),
    )

    def __init__(
        self,
        bridge: Bridge,
        clock: Clock,
        open_connections: set[DeviceConnection],
        on_settled: Callable[[], None] | None = None,
    ) -> None:
        self._bridge, self._clock, self._open, self._on_settled = bridge, clock, open_connections, on_settled
        self._decoder = framing.FrameDecoder()
        self._record_bytes = MIN_RECORD_BYTES
        self._inbox: asyncio.Queue[link.Frame | None] | None = asyncio.Queue(INBOX_LIMIT + 1)
        self._session: Session | None = None
        self._transport: asyncio.Transport | None = None
        self._received_s = clock.monotonic()
        self.device_id = self.peer = ""
        self.certified_unix_s = self.expires_unix_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Check the peer's certificate after the TLS handshake and start the negotiation."""
        self._open.add(self)
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(UNREAD_PAUSE_BYTES)
        host, port = (transport.get_extra_info("peername") or ("?", 0))[:2]
        self.peer = endpoints.join(host, port)
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        try:
            if tls.selected_alpn_protocol() != ALPN:
                raise IdentityError(f"the peer does not speak {ALPN}")
            certificate: Mapping[str, Any] = tls.getpeercert() or {}
            self.device_id = device_of(certificate, self._clock.now().timestamp())
        except IdentityError as e:
            source = source_of(self.peer.rpartition(":")[0])
            _throttle.log(_log, logging.WARNING, "peer refused", about=source, peer=self.peer, why=e.message)
            self._transport.abort()
            self._settle()
            return
        self.certified_unix_s = float(ssl.cert_time_to_seconds(certificate["notBefore"]))
        self.expires_unix_s = float(ssl.cert_time_to_seconds(certificate["notAfter"]))
        negotiation = asyncio.get_running_loop().create_task(self._negotiate())
        _negotiations.add(negotiation)
        negotiation.add_done_callback(_negotiations.discard)

    def _settle(self) -> None:
        if self._on_settled is not None:
            self._on_settled()
            self._on_settled = None

    async def _negotiate(self) -> None:
        try:
            session = await self._bridge.attach(self.device_id, self, self._receive)
        finally:
            self._settle()
            inbox, self._inbox = self._inbox, None
        if session is None:
            return
        if self._transport is None or self._transport.is_closing():
            self._bridge.detach(session, "connection lost")
            return
        self._session = session
        waiting = [inbox.get_nowait() for _ in range(inbox.qsize())] if inbox is not None else []
        self._process(frame for frame in waiting if frame is not None)

    async def _receive(self) -> link.Frame:
        frame = await self._inbox.get() if self._inbox is not None else None
        if frame is None:
            raise LinkError(link.GOODBYE_CODE_TIMEOUT, "connection lost")
        return frame

    def data_received(self, data: bytes) -> None:
        """Pass frames to the negotiation or to the session."""
        self._received_s = self._clock.monotonic()
        self._process(self._decoder.feed(data))

    def _process(self, frames: Iterable[link.Frame]) -> None:
        try:
            for frame in frames:
                if self._transport is None or self._transport.is_closing():
                    return
                if self._session is not None:
                    self._session.handle(frame)
                elif self._inbox is None:
                    return  # refused, the link is closing
                elif self._inbox.qsize() >= INBOX_LIMIT:
                    raise LinkError(link.GOODBYE_CODE_FLOOD, "too many frames before the contract")
                else:
                    self._inbox.put_nowait(frame)
        except LinkError as e:
            self._end_link(e)
        if self._session is not None:
            self._bridge.flush(self._session)
            if self._session.ended:
                self._bridge.detach(self._session, self._session.end_reason)

    def _end_link(self, error: LinkError) -> None:
        _log.warning("link closed", extra={"device": self.device_id, "peer": self.peer, "why": error.message})
        self.close(link.Frame(goodbye=error.frame()))
        if self._session is not None:
            self._session.end(error.message)

    def connection_lost(self, exc: Exception | None) -> None:
        """Detach the session from the closed socket."""
        self._open.discard(self)
        self._transport = None
        if self._inbox is not None:  # not cancelled: the negotiation must release its claim
            self._inbox.put_nowait(None)
        if self._session is not None:
            self._bridge.detach(self._session, "connection lost")

    def eof_received(self) -> bool:
        """Close our half as well when the peer closes its half."""
        return False

    def pause_writing(self) -> None:
        """Stop reading from a device that does not read, so that nothing more is sent in reply."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Resume reading when the device reads again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def sweep(self, heartbeat_s: float) -> None:
        """End the link after SILENT_HEARTBEATS heartbeats of silence; else check the certificate's expiry."""
        if self._session is None:
            return
        if self._clock.monotonic() - self._received_s <= SILENT_HEARTBEATS * heartbeat_s:
            self._bridge.renewals.check(self._session)
            return
        session, self._session = self._session, None
        session.close(link.GOODBYE_CODE_TIMEOUT, "silent for too long")
        self._bridge.detach(session, "silent for too long")

    def send(self, frame: link.Frame) -> None:
        """Send a frame."""
        self.send_encoded(framing.encode(frame))

    def send_encoded(self, data: bytes) -> None:
        """Send encoded frames in one socket write, in TLS records no larger than the device can receive."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > UNREAD_LIMIT_BYTES:
            _log.warning(
                "link closed", extra={"device": self.device_id, "peer": self.peer, "why": "too much unread output"}
            )
            self._transport.abort()
            return
        size = self._record_bytes
        if len(data) <= size:
            self._transport.write(data)
        else:
            self._transport.writelines([data[start : start + size] for start in range(0, len(data), size)])

    def certificate(self) -> bytes:
        """Return the device's certificate in DER, or b"" if the link is down. Read on demand: few sessions need it."""
        tls = None if self._transport is None else self._transport.get_extra_info("ssl_object")
        return b"" if tls is None else tls.getpeercert(binary_form=True) or b""

    def unsent_bytes(self) -> int:
        """Return the number of bytes that the socket has not accepted yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def close(self, frame: link.Frame | None = None) -> None:
        """Send a last frame and close the link, by force after CLOSE_GRACE_S seconds."""
        if frame is not None:
            self.send(frame)
        if self._transport is not None:
            self._transport.close()
            asyncio.get_running_loop().call_later(CLOSE_GRACE_S, self._transport.abort)

    def set_limits(self, rx_frame_bytes: int, rx_record_bytes: int) -> None:
        """Set the largest frame to accept and the largest TLS record to write, both in bytes."""
        self._decoder.limit_bytes, self._record_bytes = rx_frame_bytes, rx_record_bytes


def device_of(certificate: Mapping[str, Any], now_unix_s: float) -> str:
    """Return the device id of a certificate; raises IdentityError.

    Called for every connection: a resumed one has no handshake that would check the dates again (RFC 8446, 2.2).
    """
    if ssl.cert_time_to_seconds(certificate.get("notAfter", "Jan  1 00:00:00 1970 GMT")) <= now_unix_s:
        raise IdentityError("the certificate has expired")
    identity = of_sans([value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"])
    if identity.kind != "device" or identity.tenant != TENANT:
        raise IdentityError(f"{identity.uri} is not a device of tenant {TENANT}")
    try:
        return ids.device_id(identity.id)
    except InvalidIdError as e:
        raise IdentityError(e.message, hint=e.hint) from e
