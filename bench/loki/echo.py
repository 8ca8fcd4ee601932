"""The peer of Execute: a unary grpc.aio echo over the same mutual TLS. `python -m bench.loki.echo IDENTITY`"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop


async def serve(identity: Path) -> None:
    """Print the port, then serve until killed."""

    async def echo(request: bytes, _context: Any) -> bytes:
        return request

    handler = grpc.method_handlers_generic_handler("bench.Echo", {"Echo": grpc.unary_unary_rpc_method_handler(echo)})
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    chain = [((identity / "key.pem").read_bytes(), (identity / "cert.pem").read_bytes())]
    credentials = grpc.ssl_server_credentials(chain, (identity / "clients.pem").read_bytes(), require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
