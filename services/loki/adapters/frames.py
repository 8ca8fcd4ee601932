"""Frames to and from a worker that runs one script at a time; received frames are queued until `receive`.

Backpressure: above MAX_WAITING_BYTES of queued frames the socket is not read, so the worker blocks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple, cast

from services.loki.engines import wire
from services.loki.engines.wire import Kind, WireError

MAX_WAITING_BYTES = 256 * 1024


class Frame(NamedTuple):
    """A frame from the worker."""

    kind: Kind
    run: int
    payload: bytes


class Frames(asyncio.Protocol):
    """One connected socket. `receive` has one caller at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiting: deque[Frame] = deque()
        self._waiting_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._fault: WireError | None = None
        self.ended = False

    async def receive(self) -> Frame:
        """Return the next frame; raise EOFError at the end of the stream, WireError for an invalid frame."""
        while not self._waiting:
            if self._fault is not None:
                raise self._fault
            if self.ended:
                raise EOFError
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        frame = self._waiting.popleft()
        paused = self._waiting_bytes > MAX_WAITING_BYTES
        self._waiting_bytes -= len(frame.payload) + wire.HEADER.size
        if paused and self._waiting_bytes <= MAX_WAITING_BYTES and self._transport and not self.ended:
            self._transport.resume_reading()
        return frame

    def send(self, kind: Kind, run: int, payload: bytes) -> None:
        """Send a frame; raise ConnectionError if the worker has exited."""
        if self.ended or self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        self._transport.write(wire.frame(kind, run, payload))

    def close(self) -> None:
        """Close the socket; frames received before remain readable."""
        if self._transport is not None:
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Queue complete frames for `receive`."""
        buffer, at, size = self._buffer, 0, wire.HEADER.size
        buffer += data
        try:
            while len(buffer) - at >= size:
                kind, run, length = wire.unpack_header(buffer, at)
                if len(buffer) - at - size < length:
                    break
                self._waiting.append(Frame(kind, run, bytes(buffer[at + size : at + size + length])))
                at += size + length
        except WireError as e:
            self._fault = e
            self.close()
        del buffer[:at]
        before, self._waiting_bytes = self._waiting_bytes, self._waiting_bytes + at
        if before <= MAX_WAITING_BYTES < self._waiting_bytes and self._transport and not self._fault:
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Record the end of the stream."""
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
