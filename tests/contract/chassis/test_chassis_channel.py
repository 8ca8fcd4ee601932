"""Channels to a peer with a slow handshake, or to one that restarts."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from services.chassis import channel
from tests.contract.chassis.conftest import Calls, Serve, failure
from tests.fixtures.pki import Pki
from tests.fixtures.relay import relay


async def echo(request: bytes, context: object) -> bytes:
    return request


async def test_channel_reaches_peer_with_slow_handshake(serve: Serve, pki: Pki) -> None:
    serving = await serve(unary=echo)
    async with relay(int(serving.endpoint.rpartition(":")[2])) as slow:
        slow.delay_s = 1.0
        connected = channel.connect(f"127.0.0.1:{slow.port}", pki.files("user", "operator"), "registry")
        try:
            assert await Calls(connected).unary(b"x", timeout=10) == b"x"
        finally:
            await connected.close()


async def test_channel_reconnects_within_its_backoff(serve: Serve, call: Callable[..., Calls]) -> None:
    serving = await serve(unary=echo)
    calls = call(serving)
    assert await calls.unary(b"x", timeout=10) == b"x"
    await serving.server.stop(0)
    for _ in range(3):  # rejected immediately, not after the connection timeout
        assert (await failure(calls.unary(b"x", timeout=2.5))).code() is grpc.StatusCode.UNAVAILABLE
    restarted = await serve(unary=echo, listen=serving.endpoint)
    assert restarted.endpoint == serving.endpoint
    assert await calls.unary(b"y", timeout=10, wait_for_ready=True) == b"y"
