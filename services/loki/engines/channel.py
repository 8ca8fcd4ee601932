"""The worker's end of the socket pair: frames in, frames out, blocking.

Owns no engine. The end of the stream means that the service has exited, and the worker exits, too. With a counter, the
ends of turns are held back until there is nothing more to read: the service is woken once for all of them.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

from services.loki.engines import wire
from services.loki.engines.slice_counter import SliceCounter
from services.loki.engines.wire import Kind

CHUNK_BYTES = 65536
_ENDS = (Kind.CALL, Kind.DONE, Kind.FAIL)
_WAIT = (Kind.DONE, Kind.FAIL)


class Received(NamedTuple):
    """A frame from the service."""

    kind: Kind
    run: int
    payload: bytes


class Channel:
    """Frames over a connected stream socket. Used by one thread."""

    def __init__(self, sock: socket.socket, counter: SliceCounter | None = None) -> None:
        self._sock, self._counter = sock, counter
        self._in, self._at = bytearray(), 0
        self._held = bytearray()

    def send(self, kind: Kind, run: int, payload: bytes) -> None:
        """Send a frame; raise wire.WireError if the payload is too long."""
        data = wire.frame(kind, run, payload)
        if self._counter is None:
            self._sock.sendall(data)
            return
        if kind in _ENDS:
            self._counter.add()
        self._held += data
        if kind not in _WAIT or len(self._held) > CHUNK_BYTES:
            self.flush()

    def send_json(self, kind: Kind, run: int, content: object) -> None:
        """Send a frame with a JSON payload."""
        self.send(kind, run, wire.dump(content))

    def flush(self) -> None:
        """Flush the delayed frames."""
        if self._held:
            held, self._held = self._held, bytearray()
            self._sock.sendall(held)

    def receive(self) -> Received:
        """Return the next frame; raise EOFError when the service is gone."""
        self._fill(wire.HEADER.size)
        kind, run, length = wire.unpack_header(self._in, self._at)
        self._fill(wire.HEADER.size + length)
        start = self._at + wire.HEADER.size
        self._at = start + length
        return Received(kind, run, bytes(memoryview(self._in)[start : self._at]))

    def _fill(self, count: int) -> None:
        """Until so many bytes are there."""
        if len(self._in) - self._at >= count:
            return
        self.flush()
        del self._in[: self._at]
        self._at = 0
        while len(self._in) < count:
            data = self._sock.recv(CHUNK_BYTES)
            if not data:
                raise EOFError
            self._in += data
