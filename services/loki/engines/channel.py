"""The worker's end of the socket pair: frames in, frames out, blocking.

Owns no engine. The end of the stream means that the service is gone, and then so are we.
"""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

from services.loki.engines import wire
from services.loki.engines.wire import Kind


class Received(NamedTuple):
    """A frame from the service."""

    kind: Kind
    run: int
    payload: bytes


class Channel:
    """Frames over a connected stream socket. Used by one thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._in = sock.makefile("rb", buffering=65536)

    def send(self, kind: Kind, run: int, payload: bytes) -> None:
        """Sends a frame; raises wire.WireError where the payload is too long."""
        self._sock.sendall(wire.frame(kind, run, payload))

    def send_json(self, kind: Kind, run: int, content: Any) -> None:
        """Sends a frame whose payload is this JSON."""
        self.send(kind, run, wire.dump(content))

    def receive(self) -> Received:
        """The next frame; raises EOFError when the service is gone."""
        kind, run, length = wire.unpack_header(self._exactly(wire.HEADER.size))
        return Received(kind, run, self._exactly(length))

    def _exactly(self, count: int) -> bytes:
        data: bytes = self._in.read(count)
        if len(data) != count:
            raise EOFError
        return data
