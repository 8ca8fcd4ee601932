"""A real gRPC server of the chassis with handlers supplied by each test."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest

from services.chassis import channel
from services.chassis.identity import IdentityFiles
from services.chassis.server import RpcServer, ServerInfo
from tests.fixtures.pki import Pki
from yggdrasil.ota.v1 import ota_pb2_grpc

NAME = "yggdrasil.test.v1.TestService"
ABOUT = ServerInfo("1.2.3", "replica-1", 1_700_000_000.25)
Serve = Callable[..., Any]


class _Unimplemented(ota_pb2_grpc.OtaServiceServicer):
    """A service with a descriptor, for reflection."""

    UploadImage = GetUpload = DownloadImage = GetImage = ListImages = DeleteImage = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Serving:
    """A server that listens at `endpoint`."""

    server: RpcServer
    endpoint: str


class Calls:
    """The four kinds of call of the test service over one channel; requests and responses are bytes."""

    def __init__(self, connected: grpc.aio.Channel) -> None:
        self.channel = connected
        self.unary: Any = connected.unary_unary(f"/{NAME}/Unary")
        self.download: Any = connected.unary_stream(f"/{NAME}/Download")
        self.upload: Any = connected.stream_unary(f"/{NAME}/Upload")
        self.chat: Any = connected.stream_stream(f"/{NAME}/Chat")


def _handlers(unary: Any, download: Any, upload: Any, chat: Any) -> grpc.GenericRpcHandler:
    made: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary) if unary else None,
        "Download": grpc.unary_stream_rpc_method_handler(download) if download else None,
        "Upload": grpc.stream_unary_rpc_method_handler(upload) if upload else None,
        "Chat": grpc.stream_stream_rpc_method_handler(chat) if chat else None,
    }
    return grpc.method_handlers_generic_handler(NAME, {name: one for name, one in made.items() if one})


@pytest.fixture
async def serve(pki: Pki) -> AsyncIterator[Serve]:
    """`serving = await serve(unary=handler)`: handlers take (request, context) as in grpc.aio."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(
            *,
            unary: Any = None,
            download: Any = None,
            upload: Any = None,
            chat: Any = None,
            listen: str = "127.0.0.1:0",
            files: IdentityFiles | None = None,
        ) -> Serving:
            server = RpcServer(listen, files or pki.files("service", "registry"), ABOUT)
            handlers = _handlers(unary, download, upload, chat)
            server.add(NAME, lambda grpc_server: grpc_server.add_generic_rpc_handlers((handlers,)))
            server.add(
                "yggdrasil.ota.v1.OtaService",
                lambda grpc_server: ota_pb2_grpc.add_OtaServiceServicer_to_server(_Unimplemented(), grpc_server),
            )
            endpoint = await server.start()
            stack.push_async_callback(server.stop, 0)
            return Serving(server, endpoint)

        yield start


@pytest.fixture
async def call(pki: Pki) -> AsyncIterator[Callable[..., Calls]]:
    """`call(serving)` or `call(serving, files)`: stubs of the test service for the operator or another identity."""
    async with contextlib.AsyncExitStack() as stack:

        def connect(serving: Serving, files: IdentityFiles | None = None) -> Calls:
            connected = channel.connect(serving.endpoint, files or pki.files("user", "operator"), "registry")
            stack.push_async_callback(connected.close)
            return Calls(connected)

        yield connect


async def failure(awaitable: Any) -> grpc.aio.AioRpcError:
    """Return the error of a failed call."""
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await awaitable
    return e.value


async def collected(stream: Any) -> list[bytes]:
    """Return all responses of a stream."""
    return [answer async for answer in stream]
