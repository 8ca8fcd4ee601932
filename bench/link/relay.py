"""`python -m bench.link.relay IDENTITY`: the minimum work of a bridge in Python, as a peer.

Relay: a message of a gRPC stream is sent to the only device over TLS 1.3, and the device's bytes are returned. Echo:
the message is returned immediately. Same uvloop, grpc.aio, mutual TLS and options as our services; no protobuf, no
checks, no framing, no deadlines, and one device that echoes its input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import uvloop

from services.chassis.identity import IdentityFiles
from services.chassis.server import OPTIONS

RELAY = "/bench.Peer/Relay"
ECHO = "/bench.Peer/Echo"
ALPN = "bench-relay"


class Device(asyncio.Protocol):
    """The link to the device; responses arrive in the order of requests."""

    connected: Device | None = None

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[int, asyncio.Future[bytes]]] = deque()
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        Device.connected = self

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._waiting and len(self._buffer) >= self._waiting[0][0]:
            length, answer = self._waiting.popleft()
            answer.set_result(bytes(self._buffer[:length]))
            del self._buffer[:length]

    def ask(self, message: bytes) -> asyncio.Future[bytes]:
        assert self._transport is not None
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((len(message), answer))
        self._transport.write(message)
        return answer


async def _relay(requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
    async for message in requests:
        assert Device.connected is not None
        yield await Device.connected.ask(message)


async def _echo(requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
    async for message in requests:
        yield message


class _Handlers(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        behaviour = {RELAY: _relay, ECHO: _echo}.get(handler_call_details.method)
        return None if behaviour is None else grpc.stream_stream_rpc_method_handler(behaviour)


async def main(identity: Path) -> None:
    """Serve until killed; print the ports on standard output."""
    files = IdentityFiles(identity)
    tls = files.server_context("devices.pem")
    tls.set_alpn_protocols([ALPN])
    listener = await asyncio.get_running_loop().create_server(Device, "127.0.0.1", 0, ssl=tls)
    server = grpc.aio.server(options=OPTIONS)
    credentials = grpc.ssl_server_credentials(
        [(files.read("key.pem"), files.read("cert.pem"))], files.read("clients.pem"), require_client_auth=True
    )
    server.add_generic_rpc_handlers((_Handlers(),))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    print(json.dumps({"grpc": port, "link": listener.sockets[0].getsockname()[1]}), flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
