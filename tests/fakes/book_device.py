"""A device written from docs/reference/protocol.md alone: it encodes frames by hand, without a codec of ours.

It knows section 2 (framing), the numbers of section 12 and the wire format of protobuf. A message is a list of fields;
frames are decoded to a dict of field number to values, integers or bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

HELLO, WELCOME, REFUSED, PAGE, CONTRACT, INVOKE, RESULT, EVENT, EVENT_ACK = range(1, 10)
TELEMETRY, TWIN_DELTA, TWIN_REPORT, UPDATE, PING, PONG, GOODBYE, CREDIT, ANSWER = range(10, 19)
REFUSALS = ("UNSPECIFIED", "PROTOCOL", "IDENTITY", "MALFORMED", "FEATURE", "NOT_ACTIVE", "UNAVAILABLE", "CAPABILITIES")
GOODBYES = (
    *("UNSPECIFIED", "SHUTDOWN", "PROTOCOL_ERROR", "UNKNOWN_FRAME", "TIMEOUT", "REPLACED", "DISCONNECTED", "FLOOD"),
)
BOOL, INT, DOUBLE, STRING, BYTES = range(1, 6)

Fields = dict[int, list["int | bytes"]]


def varint(number: int) -> bytes:
    """Base 128, least significant group first."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: int | float | str | bytes) -> bytes:
    """A field: an integer as varint, a float as double, text and bytes with their length."""
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def fixed64(number: int, value: int) -> bytes:
    """A field of type fixed64."""
    return varint(number << 3 | 1) + struct.pack("<Q", value)


def message(**numbered: int | float | str | bytes | Sequence[bytes]) -> bytes:
    """`message(f1=3, f2="x")`; a list repeats its field."""
    out = b""
    for name, value in numbered.items():
        several = [value] if isinstance(value, int | float | str | bytes) else value
        out += b"".join(field(int(name[1:]), one) for one in several)
    return out


def decode(data: bytes) -> Fields:
    """The fields of a message; the bytes of fixed ones are left as they are."""
    found: Fields = {}
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = number()
        kind = key & 7
        value: int | bytes
        if kind == 0:
            value = number()
        else:
            length = {1: 8, 5: 4}.get(kind) or number()
            value, at = data[at : at + length], at + length
        found.setdefault(key >> 3, []).append(value)
    return found


def schema(kind: int, unit: str = "", low: float | None = None, high: float | None = None, length: int = 0) -> bytes:
    """A DataSchema."""
    bounds = [field(3 + n, float(bound)) for n, bound in enumerate((low, high)) if bound is not None]
    return (
        message(f1=kind)
        + (message(f2=unit) if unit else b"")
        + b"".join(bounds)
        + (message(f5=length) if length else b"")
    )


def parameter(name: str, of: bytes, *, optional: bool = False) -> bytes:
    """A Parameter."""
    return message(f1=name, f2=of, f3=int(optional))


def prop(name: str, of: bytes, access: str = "rw") -> bytes:
    """A Property; `access` of r, w and o."""
    return message(f1=name, f2=of, f3=int("r" in access), f4=int("w" in access), f5=int("o" in access))


def capability(name: str, kind: str, *, version: int = 1, **members: Sequence[bytes]) -> bytes:
    """A Capability with `properties`, `actions` and `events`."""
    numbers = {"properties": 4, "actions": 5, "events": 6}
    return message(f1=name, f2=kind, f3=version) + b"".join(
        field(numbers[of], one) for of, several in members.items() for one in several
    )


def document(*capabilities: bytes) -> bytes:
    """A CapabilityDocument."""
    return message(f1=list(capabilities))


class Frame(NamedTuple):
    """A received frame: the number of its body, its fields, and its size in bytes."""

    number: int
    body: Fields
    size: int

    def last(self) -> str:
        """`Refused MALFORMED` or `Goodbye FLOOD`."""
        code = self.body.get(1, [0])[0]
        assert isinstance(code, int)
        return f"Refused {REFUSALS[code]}" if self.number == REFUSED else f"Goodbye {GOODBYES[code]}"


class BookDevice:
    """One link."""

    def __init__(self, device_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.device_id, self._reader, self._writer = device_id, reader, writer

    @classmethod
    async def connect(cls, endpoint: str, identity: Path, device_id: str) -> BookDevice:
        """Section 1: TLS 1.3, ALPN, both certificates, the URI of the bridge."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(identity / "services.pem")
        context.load_cert_chain(identity / "cert.pem", identity / "key.pem")
        context.set_alpn_protocols(["einherjar/1"])
        host, _, port = endpoint.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="bridge")
        names = writer.get_extra_info("peercert")["subjectAltName"]
        assert [name for kind, name in names if kind == "URI"] == ["ygg://main/service/jotunheim_bridge"]
        return cls(device_id, reader, writer)

    def send(self, number: int, body: bytes = b"") -> None:
        """A frame: outer length, then one length-delimited field."""
        frame = field(number, body)
        self.raw(varint(len(frame)) + frame)

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self._writer.write(data)

    async def receive(self) -> Frame:
        """The next frame."""
        async with asyncio.timeout(10):
            length = shift = 0
            while True:
                byte = (await self._reader.readexactly(1))[0]
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            ((number, (body,)),) = decode(await self._reader.readexactly(length)).items()
        assert isinstance(body, bytes)
        return Frame(number, decode(body), length)

    async def expect(self, number: int) -> Frame:
        """The next frame, which has that body."""
        frame = await self.receive()
        assert frame.number == number, frame
        return frame

    def hello(self, offered: bytes, features: Sequence[str] = (), **changes: int) -> None:
        """Hello for a document. `changes`: rx, tx, boot, low and high (protocol versions), size."""
        offers = [message(f1=name, f2=1, f3=1) for name in features]
        limits = message(f1=changes.get("rx", 1024), f2=changes.get("tx", 1024), f3=2, f5=512)
        self.send(
            HELLO,
            message(f1=changes.get("low", 1), f2=changes.get("high", 1), f3=self.device_id)
            + fixed64(4, changes.get("boot", 7))
            + message(f5=message(f1="book"), f6=message(f1="1.0.0", f2="A"), f7=limits, f8=offers)
            + message(f9=hashlib.sha256(offered).digest(), f10=changes.get("size", len(offered))),
        )

    async def negotiate(self, offered: bytes, features: Sequence[str] = (), **changes: int) -> tuple[Frame, Frame]:
        """Hello to contract; returns Welcome and ContractNotice."""
        self.hello(offered, features, **changes)
        welcome = await self.expect(WELCOME)
        if welcome.body.get(8):
            for page in self.pages(offered, welcome):
                self.send(PAGE, page)
        return welcome, await self.expect(CONTRACT)

    @staticmethod
    def pages(offered: bytes, welcome: Frame) -> Iterator[bytes]:
        """The CapabilityPages of a document."""
        (size,) = welcome.body[6]
        assert isinstance(size, int)
        for offset in range(0, len(offered), size):
            yield (message(f1=offset) if offset else b"") + message(f2=offered[offset : offset + size])

    async def end(self) -> str:
        """The last frame before the end of the link, such as `Goodbye FLOOD`; earlier frames are skipped."""
        said = ""
        try:
            while True:
                frame = await self.receive()
                if frame.number in (REFUSED, GOODBYE):
                    said = frame.last()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            return said

    def close(self) -> None:
        """The link is lost."""
        self._writer.transport.abort()
