"""Framing of the device link: a varint length of at most 3 bytes, followed by a `Frame` of that length.

Pure. A decoder buffers at most one frame beyond its input, and never more than its limit.
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from services.jotunheim_bridge.errors import LinkError
from yggdrasil.device.v1 import link_pb2 as link

MAX_FRAME_BYTES = 16 * 1024
HELLO_FRAME_BYTES = 1024
"""Largest frame before Welcome sets the negotiated limit."""
FIRST_OPTIONAL_BODY = 64
MAX_SKIPPED = 256
"""Maximum unknown optional frames in one read."""
_MAX_PREFIX_BYTES = 3
_MAX_VARINT_BYTES = 5  # of a 32-bit number
_LENGTH_DELIMITED = 2


def encode(frame: link.Frame) -> bytes:
    """Return the frame with its length prefix."""
    body = frame.SerializeToString()
    return varint(len(body)) + body


def head(number: int, size: int) -> bytes:
    """Return the prefix that makes an encoded body of `size` bytes a frame with that body number."""
    key = varint(number << 3 | _LENGTH_DELIMITED) + varint(size)
    return varint(len(key) + size) + key


class FrameDecoder:
    """Splits a byte stream into frames. `limit_bytes` may grow once, at Welcome."""

    __slots__ = ("_buffer", "limit_bytes")

    def __init__(self, limit_bytes: int = HELLO_FRAME_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[link.Frame]:
        """Yield each complete frame; skip unknown optional ones. Raises LinkError.

        Lazy: a frame is decoded on demand, under the limit that the frame before it may have changed.
        """
        self._buffer += data
        skipped = 0
        while (body := self._next()) is not None:
            frame = _parse(body)
            if frame is not None:
                yield frame
                continue
            skipped += 1
            if skipped > MAX_SKIPPED:
                raise LinkError(link.GOODBYE_CODE_FLOOD, f"more than {MAX_SKIPPED} unknown frames in one read")

    def _next(self) -> bytes | None:
        length = shift = used = 0
        for byte in self._buffer[:_MAX_PREFIX_BYTES]:
            length |= (byte & 0x7F) << shift
            shift += 7
            used += 1
            if byte < 0x80:
                break
        else:
            if used == _MAX_PREFIX_BYTES:
                raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "a frame length is longer than 3 bytes")
            return None
        if not 0 < length <= self.limit_bytes:
            raise LinkError(
                link.GOODBYE_CODE_PROTOCOL_ERROR, f"a frame of {length} bytes; 1 to {self.limit_bytes} are allowed"
            )
        if len(self._buffer) < used + length:
            return None
        body = bytes(self._buffer[used : used + length])
        del self._buffer[: used + length]
        return body


def _parse(body: bytes) -> link.Frame | None:
    number = _body_number(body)
    try:
        frame = link.Frame.FromString(body)
    except DecodeError as e:
        raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "a frame is not a Frame message") from e
    if frame.WhichOneof("body") is not None:
        if 0 in body and holds_zero_text(frame):
            raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "a text has a zero byte")
        return frame
    if number >= FIRST_OPTIONAL_BODY:
        return None
    raise LinkError(link.GOODBYE_CODE_UNKNOWN_FRAME, f"frame body {number} is unknown")


def holds_zero_text(message: Message) -> bool:
    """Return whether any text in the message has a zero byte, which ends a string in C."""
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_STRING:
            if "\0" in value:
                return True
        elif field.type == FieldDescriptor.TYPE_MESSAGE and any(
            map(holds_zero_text, value if field.is_repeated else (value,))
        ):
            return True
    return False


def _body_number(frame: bytes) -> int:
    """Return the number of the only body: a frame is exactly one length-delimited field, without trailing bytes."""
    key, start = _read_varint(frame, 0)
    length, start = _read_varint(frame, start)
    if key & 7 != _LENGTH_DELIMITED or not key >> 3 or start + length != len(frame):
        raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "a frame must have exactly one body")
    return key >> 3


def _read_varint(data: bytes, start: int) -> tuple[int, int]:
    value = shift = 0
    for position, byte in enumerate(data[start : start + _MAX_VARINT_BYTES], start + 1):
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
    raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "a frame must start with a body")


def varint(value: int) -> bytes:
    """Return a base-128 varint, least significant group first."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
