"""Calls while a fleet is updated at half its maximum rate, each timed from when it was due.

They go to devices in separate agent processes, so that the process of the thousand is not measured: half of these
devices are updated with the fleet, the others have another class and are only called. A device that restarts into its
image cannot be called: such failures are counted, not timed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import grpc.aio

from bench.harness.agents import Agents
from bench.harness.compare import percentile
from bench.harness.process import BenchError
from bench.harness.results import Metric
from bench.link.caller import read_counter
from bench.ota import setup
from bench.ota.fleet import IMAGE_BYTES, Bench
from yggdrasil.jotunheim.v1 import bridge_pb2_grpc

RATE = 100
"""Calls per second."""
_MIN_CALLS = 300


@dataclass
class Calls:
    """Outcomes of the calls: milliseconds by device, and failures."""

    took_ms: dict[str, list[float]] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)

    def of(self, prefix: str) -> list[float]:
        """Return ascending latencies of all devices with that id prefix."""
        return sorted(
            itertools.chain.from_iterable(ms for device, ms in self.took_ms.items() if device.startswith(prefix))
        )


async def measure(bench: Bench, updated: Agents, idle: Agents, alone_s: float) -> list[Metric]:
    """Measure the figures; `alone_s` is the duration of an update at full speed, in seconds."""
    rate = max(1, int(bench.agents.count * 60 / alone_s / 2))
    both = replace(bench, extra=updated.count)
    async with bench.mesh.channel("jotunheim_bridge") as channel:
        stub: Any = bridge_pb2_grpc.BridgeServiceStub(channel)
        calls = Calls()
        running = asyncio.create_task(_paced(stub.Pipeline(), [*updated.ids, *idle.ids], calls))
        started = time.monotonic()
        await both.update(setup.image_of(IMAGE_BYTES), rate_per_minute=rate)
        took_s = time.monotonic() - started
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    return _metrics(calls, updated, idle, rate, took_s)


def _metrics(calls: Calls, updated: Agents, idle: Agents, rate: int, took_s: float) -> list[Metric]:
    every = calls.of("")
    busy, calm = calls.of(updated.prefix), calls.of(idle.prefix)
    if len(every) < _MIN_CALLS:
        raise BenchError(f"only {len(every)} calls succeeded")
    note = (
        f"{RATE} calls/s, each timed from when it was due, to {updated.count} devices that are updated and "
        f"{idle.count} that are not, in separate processes; {rate} devices a minute were started, half of the "
        f"maximum, for {took_s:.0f} s; {sum(calls.failed.values())} calls to restarting devices failed"
    )
    key = "call_p99_ms_during_update"
    return [
        Metric(key, percentile(every, 0.99), "ms", "lower", target=25, n=len(every), note=note),
        Metric(
            f"{key}_updated", percentile(busy, 0.99), "ms", "lower", n=len(busy), note="of these, to updated devices"
        ),
        Metric(f"{key}_idle", percentile(calm, 0.99), "ms", "lower", n=len(calm), note="of these, to other devices"),
        Metric("call_p50_ms_during_update", percentile(every, 0.5), "ms", "lower", n=len(every), note="the median"),
    ]


async def _paced(stream: Any, devices: list[str], calls: Calls) -> None:
    """Read from the devices in turn until cancelled. Due times do not wait for responses."""
    due: dict[int, tuple[str, float]] = {}

    async def collect() -> None:
        while (answer := await stream.read()) is not grpc.aio.EOF:
            now = time.perf_counter()
            device, at = due.pop(answer.id)
            if answer.WhichOneof("outcome") == "failure":
                calls.failed[device] += 1
            else:
                calls.took_ms.setdefault(device, []).append((now - at) * 1000)

    collecting = asyncio.create_task(collect())
    start = time.perf_counter() + 0.05
    try:
        for number in itertools.count(1):
            device, at = devices[number % len(devices)], start + number / RATE
            due[number] = device, at
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            await stream.write(read_counter(number, device))
    finally:
        collecting.cancel()
        stream.cancel()
