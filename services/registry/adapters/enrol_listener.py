"""Enrolment of devices without a certificate: one request and one response over TLS.

The port requires no certificate, so it is public: `arrivals` limits connections up to the end of TLS; after that a
connection has TIMEOUT_S and REQUEST_BYTES. protos/yggdrasil/device/v1/enrol.proto is the protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl

from google.protobuf.message import DecodeError

from services.chassis.arrivals import Bounds, Clock, cap_connections, source_of
from services.chassis.identity import IdentityFiles
from services.chassis.logs import Throttle
from services.chassis.tls_listener import TlsListener
from services.domain import endpoints, ids
from services.domain.errors import Code, InvalidRequestError, YggError
from services.registry.adapters.signer import CHAIN_FILE
from services.registry.errors import DeviceNotActiveError, TokenExpiredError, TokenUnknownError, TokenUsedError
from services.registry.service.enrolment import Enrolment
from yggdrasil.device.v1 import enrol_pb2 as pb

ALPN = "einherjar-enrol/1"
REQUEST_BYTES = 4096
"""Maximum size of a request: a secret, an id and a certificate request."""
TIMEOUT_S = 10.0
"""Maximum duration of a connection after TLS, in seconds."""
MAX_CONNECTIONS = 256
MAX_HANDSHAKES = 32
RETRY_AFTER_MS = 2000
"""Delay after which a device may retry if enrolment is temporarily unavailable."""
_log = logging.getLogger(__name__)
_throttle = Throttle()
_CODES: tuple[tuple[type[YggError], pb.EnrolRefusedCode.ValueType], ...] = (
    (TokenUnknownError, pb.ENROL_REFUSED_CODE_TOKEN_UNKNOWN),
    (TokenUsedError, pb.ENROL_REFUSED_CODE_TOKEN_USED),
    (TokenExpiredError, pb.ENROL_REFUSED_CODE_TOKEN_EXPIRED),
    (DeviceNotActiveError, pb.ENROL_REFUSED_CODE_NOT_ACTIVE),
)


def _context(files: IdentityFiles) -> ssl.SSLContext:
    """Return a TLS 1.3 context with the chain up to the root, because a device knows only the root's fingerprint."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(files.directory / CHAIN_FILE, files.directory / "key.pem")
    context.set_alpn_protocols([ALPN])
    context.num_tickets = 0
    return context


class EnrolListener:
    """The listener."""

    def __init__(self, enrolment: Enrolment, files: IdentityFiles, clock: Clock) -> None:
        self._enrolment = enrolment
        self._open = 0
        self._listener = TlsListener(
            _context(files),
            Bounds(cap_connections(MAX_CONNECTIONS), MAX_HANDSHAKES),
            clock,
            self._protocol,
            lambda: self._open,
        )

    async def start(self, listen: str) -> str:
        """Bind HOST:PORT; return it as bound."""
        return await self._listener.start(listen)

    async def sweep(self) -> None:
        """End arrivals that take too long, until cancelled. Must run concurrently."""
        await self._listener.sweep()

    async def stop(self) -> None:
        """Accept no more devices."""
        self._listener.stop()

    def _protocol(self) -> asyncio.BaseProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(REQUEST_BYTES), self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = endpoints.join(*(writer.get_extra_info("peername") or ("?", 0))[:2])
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        self._open += 1
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if tls.selected_alpn_protocol() != ALPN:
                    return
                response = await self._respond(reader, peer)
                body = response.SerializeToString()
                writer.write(_length(len(body)) + body)
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as e:
            why = str(e) or type(e).__name__
            _throttle.log(
                _log,
                logging.INFO,
                "enrolment connection failed",
                about=source_of(peer.rpartition(":")[0].strip("[]")),
                peer=peer,
                why=why,
            )
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError, TimeoutError, ssl.SSLError):
                async with asyncio.timeout(1.0):
                    await writer.wait_closed()

    async def _respond(self, reader: asyncio.StreamReader, peer: str) -> pb.EnrolResponse:
        device = "?"
        try:
            request = await _request(reader)
            device = ids.printable(request.device_id)
            granted = await self._enrolment.enrol(request.secret, request.device_id, request.certificate_request)
        except YggError as e:
            source = _source(peer)
            extra = {"device": device, "peer": peer, "why": e.message}
            _throttle.log(_log, logging.WARNING, "enrolment rejected", about=source, **extra)
            return pb.EnrolResponse(refused=_refused(e))
        _log.info("device enrolled", extra={"device": device, "peer": peer, "serial": granted.serial})
        return pb.EnrolResponse(
            granted=pb.EnrolGranted(certificate_chain=granted.certificate_chain, service_ca=granted.services)
        )


def _refused(error: YggError) -> pb.EnrolRefused:
    code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
    retry_ms = 0
    if code is None:
        malformed = error.code is Code.INVALID_ARGUMENT
        code = pb.ENROL_REFUSED_CODE_MALFORMED if malformed else pb.ENROL_REFUSED_CODE_UNAVAILABLE
        retry_ms = 0 if malformed else RETRY_AFTER_MS
    message = error.message.encode()[:127].decode(errors="ignore")
    return pb.EnrolRefused(code=code, message=message, retry_after_ms=retry_ms)


async def _request(reader: asyncio.StreamReader) -> pb.EnrolRequest:
    length = shift = 0
    for _ in range(2):  # 14 bits exceed REQUEST_BYTES
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    else:
        raise InvalidRequestError(f"a request is at most {REQUEST_BYTES} bytes")
    if not 0 < length <= REQUEST_BYTES:
        raise InvalidRequestError(f"a request of {length} bytes, 1 to {REQUEST_BYTES} are allowed")
    try:
        return pb.EnrolRequest.FromString(await reader.readexactly(length))
    except DecodeError as e:
        raise InvalidRequestError("the request is not a valid EnrolRequest") from e


def _length(length: int) -> bytes:
    return bytes([length]) if length < 0x80 else bytes([length & 0x7F | 0x80, length >> 7])


def _source(peer: str) -> str:
    return source_of(peer.rpartition(":")[0].strip("[]"))
