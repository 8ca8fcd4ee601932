"""A device in Python: speaks Einherjar by the book, or breaks it on purpose, one frame at a time.

Not the agent: that is the C program in firmware/. This one exists to send what no well-made agent sends.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

from services.chassis.identity import IdentityFiles
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.device.v1 import link_pb2 as link

ALPN = "einherjar/1"
BOOL = cp.DataSchema(type=cp.VALUE_TYPE_BOOL)


def number(kind: cp.ValueType.ValueType, low: float, high: float, unit: str = "") -> cp.DataSchema:
    """A bounded INT or DOUBLE."""
    return cp.DataSchema(type=kind, minimum=low, maximum=high, unit=unit)


def led(capability_id: str = "led0", semantic_type: str = "actuator.led", version: int = 1) -> cp.Capability:
    """An LED with a property, an action and an event."""
    integer = cp.VALUE_TYPE_INT
    return cp.Capability(
        id=capability_id,
        type=semantic_type,
        version=version,
        properties=[
            cp.Property(name="on", schema=BOOL, readable=True, writable=True),
            cp.Property(name="hours", schema=number(integer, 0, 1e6), readable=True),
        ],
        actions=[
            cp.Action(
                name="blink",
                arguments=[
                    cp.Parameter(name="times", schema=number(integer, 1, 20)),
                    cp.Parameter(name="period_ms", schema=number(integer, 50, 5000, "ms"), optional=True),
                ],
                results=[cp.Parameter(name="count", schema=cp.DataSchema(type=integer))],
            )
        ],
        events=[cp.Event(name="failed", fields=[cp.Parameter(name="code", schema=cp.DataSchema(type=integer))])],
    )


def document(*capabilities: cp.Capability) -> bytes:
    """The bytes of a capability document."""
    return cp.CapabilityDocument(capabilities=capabilities or [led()]).SerializeToString()


FEATURES = ("telemetry", "capability_update", "twin", "certificate")


def offers(*names: str) -> list[link.FeatureOffer]:
    """Features in version 1."""
    return [link.FeatureOffer(name=name, min_version=1, max_version=1) for name in names]


def hello(device_id: str, offered: bytes, /, **changes: Any) -> link.Hello:
    """A Hello that is in order, but for `changes`."""
    fields: dict[str, Any] = {
        "protocol_min": 1,
        "protocol_max": 1,
        "device_id": device_id,
        "boot_id": 7,
        "hardware": link.Hardware(model="test-board", device_class="test"),
        "firmware": link.Firmware(version="1.0.0", slot="A"),
        "limits": link.Limits(rx_frame_bytes=1024, tx_frame_bytes=1024, calls_in_flight=2, rx_record_bytes=1024),
        "capabilities_digest": hashlib.sha256(offered).digest(),
        "capabilities_size_bytes": len(offered),
        "features": offers(*FEATURES),
    }
    return link.Hello(**{**fields, **changes})


class LinkEndedError(Exception):
    """The bridge closed the link."""


class LinkDevice:
    """One link. `send` and `receive` are frames; `negotiate` is the whole way to the contract."""

    def __init__(self, device_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.device_id, self._reader, self._writer = device_id, reader, writer

    @classmethod
    async def connect(
        cls,
        endpoint: str,
        files: IdentityFiles,
        device_id: str,
        alpn: str = ALPN,
        room_bytes: int = 0,
        source: str = "",
    ) -> LinkDevice:
        """TLS 1.3 with the identity in `files`. `room_bytes`: the size of the receive buffer.

        `source`: the address to come from.
        """
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=files.directory / "services.pem")
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(files.directory / "cert.pem", files.directory / "key.pem")
        context.set_alpn_protocols([alpn])
        host, _, port = endpoint.rpartition(":")
        plain = socket.socket()
        if room_bytes:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room_bytes)
        if source:
            plain.bind((source, 0))
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, (host, int(port)))
        reader, writer = await asyncio.open_connection(
            sock=plain, ssl=context, server_hostname="localhost", limit=room_bytes or 2**16
        )
        return cls(device_id, reader, writer)

    @property
    def has_ticket(self) -> bool:
        """Whether the bridge's session ticket, the last record of the handshake, has arrived."""
        session = self._writer.get_extra_info("ssl_object").session
        return bool(session and session.has_ticket)

    def send_bytes(self, data: bytes) -> None:
        """Anything at all."""
        self._writer.write(data)

    async def drain(self) -> None:
        """Flush; raise ConnectionError if the link has ended."""
        await self._writer.drain()
        await asyncio.sleep(0)  # drain does not always yield, and the loop reports the end of a link
        if self._writer.is_closing():
            raise ConnectionResetError("the link has ended")

    def send(self, **body: Any) -> None:
        """A frame, such as `send(ping=link.Ping(token=1))`."""
        data = link.Frame(**body).SerializeToString()
        prefix, length = bytearray(), len(data)
        while length >= 0x80:
            prefix.append(length & 0x7F | 0x80)
            length >>= 7
        self.send_bytes(bytes([*prefix, length]) + data)

    async def receive(self, within_s: float = 10.0) -> link.Frame:
        """Return the next frame; raise LinkEndedError if the bridge has closed."""
        try:
            async with asyncio.timeout(within_s):
                length = shift = 0
                while True:
                    byte = (await self._reader.readexactly(1))[0]
                    length |= (byte & 0x7F) << shift
                    shift += 7
                    if byte < 0x80:
                        return link.Frame.FromString(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError) as e:
            raise LinkEndedError(str(e)) from e

    async def expect(self, body: str, within_s: float = 10.0) -> Any:
        """The body of the next frame, which must be of that name."""
        frame = await self.receive(within_s)
        assert frame.WhichOneof("body") == body, frame
        return getattr(frame, body)

    async def negotiate(self, offered: bytes | None = None, **changes: Any) -> link.ContractNotice:
        """Hello to contract."""
        offered = document() if offered is None else offered
        self.send(hello=hello(self.device_id, offered, **changes))
        welcome = await self.expect("welcome")
        if welcome.send_capabilities:
            for offset in range(0, len(offered), welcome.page_bytes):
                page = link.CapabilityPage(offset=offset, data=offered[offset : offset + welcome.page_bytes])
                self.send(capability_page=page)
        notice: link.ContractNotice = await self.expect("contract")
        return notice

    async def answer(self, reply: Callable[[link.Invoke], link.Result]) -> link.Invoke:
        """Waits for a call and answers it."""
        invoke: link.Invoke = await self.expect("invoke")
        self.send(result=reply(invoke))
        return invoke

    async def ended(self, within_s: float = 10.0) -> list[link.Frame]:
        """The frames up to the end of the link."""
        frames: list[link.Frame] = []
        try:
            while True:
                frames.append(await self.receive(within_s))
        except LinkEndedError:
            return frames

    def vanish(self) -> None:
        """The power is cut: no goodbye, no TLS close."""
        self._writer.transport.abort()

    def close(self) -> None:
        """Closes the socket in order."""
        self._writer.close()
