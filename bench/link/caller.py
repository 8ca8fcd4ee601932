"""Callers over one gRPC stream: BridgeService.Pipeline, and streams of bytes for the peers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import grpc.aio

from bench.harness.compare import percentile
from bench.harness.process import BenchError
from yggdrasil.common.v1 import value_pb2
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb
from yggdrasil.jotunheim.v1 import bridge_pb2_grpc


def count_one(number: int, device: str) -> pb.PipelineRequest:
    """Return a call with a visible effect: it increments the board's counter."""
    arguments = {"n": value_pb2.Value(int=1)}
    invoke = pb.InvokeRequest(device_id=device, capability="cnt0", action="add", arguments=arguments)
    return pb.PipelineRequest(id=number, invoke=invoke)


def read_counter(number: int, device: str) -> pb.PipelineRequest:
    """Return a read without side effects."""
    read = pb.ReadPropertyRequest(device_id=device, capability="cnt0", property="count")
    return pb.PipelineRequest(id=number, read=read)


async def timed(write: Callable[[Any], Any], read: Callable[[], Any], make: Callable[[int], Any], count: int) -> float:
    """Return the median of `count` sequential calls, in ms."""
    took = []
    for number in range(1, count + 1):
        message = make(number)
        started = time.perf_counter_ns()
        await write(message)
        check(message, await read())
        took.append((time.perf_counter_ns() - started) / 1e6)
    return percentile(sorted(took), 0.5)


def check(request: Any, answer: Any) -> None:
    """Raise BenchError if a call failed; bytes must be echoed unchanged."""
    if isinstance(request, bytes):
        if answer != request:
            raise BenchError("the peer returned different bytes")
    elif answer is grpc.aio.EOF or answer.id != request.id or answer.WhichOneof("outcome") == "failure":
        raise BenchError(f"a call failed: {answer}")


class Pipeline:
    """One Pipeline to the bridge."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        stub: Any = bridge_pb2_grpc.BridgeServiceStub(channel)
        self._stream = stub.Pipeline()

    async def timed(self, device: str, count: int) -> float:
        """Return the median of sequential calls, in ms."""
        return await timed(self._stream.write, self._stream.read, lambda n: count_one(n, device), count)

    async def paced(self, devices: Sequence[str], count: int, rate: float) -> list[float]:
        """Make `count` calls to the devices in turn at `rate` per second; return their latencies, ascending, in ms.

        Latencies count from due times, which do not wait for responses: a stall affects every call that falls into it.
        """
        due: dict[int, float] = {}
        took: list[float] = []

        async def collect() -> None:
            while len(took) < count:
                answer = await self._stream.read()
                now = time.perf_counter()
                if answer is grpc.aio.EOF or answer.WhichOneof("outcome") == "failure":
                    raise BenchError(f"a call failed: {answer}")
                took.append((now - due.pop(answer.id)) * 1000)

        collecting = asyncio.create_task(collect())
        start = time.perf_counter() + 0.05
        for number in range(count):
            due[number] = start + number / rate
            await asyncio.sleep(max(0.0, due[number] - time.perf_counter()))
            await self._stream.write(count_one(number, devices[number % len(devices)]))
        await asyncio.wait_for(collecting, 60)
        return sorted(took)

    async def reach(self, devices: Iterable[str], window: int, within_s: float) -> None:
        """Read from every device, `window` at a time, with retries, until each has responded."""
        waiting, numbers = list(devices)[::-1], itertools.count(1)
        pending: dict[int, str] = {}
        async with asyncio.timeout(within_s):
            while waiting or pending:
                while waiting and len(pending) < window:
                    number = next(numbers)
                    pending[number] = waiting.pop()
                    await self._stream.write(read_counter(number, pending[number]))
                answer = await self._stream.read()
                if answer is grpc.aio.EOF:
                    raise BenchError("the bridge ended the pipeline")
                device = pending.pop(answer.id)
                if answer.WhichOneof("outcome") == "failure":
                    waiting.insert(0, device)
                    await asyncio.sleep(0.01)

    def close(self) -> None:
        """End the stream."""
        self._stream.cancel()


class RawStream:
    """A stream of bytes to the relay or the echo."""

    def __init__(self, channel: grpc.aio.Channel, method: str) -> None:
        call: Any = channel.stream_stream(method)
        self._stream = call()

    async def timed(self, message: bytes, count: int) -> float:
        """Return the median of sequential exchanges, in ms."""
        return await timed(self._stream.write, self._stream.read, lambda _: message, count)

    def close(self) -> None:
        """End the stream."""
        self._stream.cancel()
