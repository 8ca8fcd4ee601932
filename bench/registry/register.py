"""register_rate: RegisterDevices, from the first message to the response, which is sent when all are in the index."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from typing import Any

from bench.harness.compare import alone
from bench.harness.machine import pick, rounds
from bench.harness.process import BenchError, Child
from bench.harness.results import Metric
from yggdrasil.registry.v1 import registry_pb2 as pb

_BATCH = 500


async def measure(registry: Any, process: Child) -> list[Metric]:
    """Register devices with random ids and four labels each; read the last one back."""
    count, rates, busy = pick(15_000, 50_000), list[float](), list[float]()
    for turn in range(rounds()):
        requests = _requests(turn, count)
        cpu, started = process.cpu_s(), time.monotonic()
        answer = await registry.RegisterDevices(_stream(requests))
        took = time.monotonic() - started
        rates.append(count / took)
        busy.append((process.cpu_s() - cpu) / took)
        if (answer.registered, answer.failed) != (count, 0):
            raise BenchError(f"{answer.registered} of {count} registered: {list(answer.failures[:3])}")
        last = requests[-1].devices[-1].device_id
        await registry.GetDevice(pb.GetDeviceRequest(device_id=last))
    note = f"the registry used {max(busy):.0%} of a core"
    return [
        alone("register_rate", rates, unit="devices/s", better="higher", target=3000, n=count * rounds(), note=note)
    ]


def _requests(turn: int, count: int) -> list[pb.RegisterDevicesRequest]:
    rng = random.Random(1000 + turn)

    def device() -> pb.RegisterDeviceRequest:
        labels = {
            "zone": f"zone-{rng.randrange(50)}",
            "floor": str(rng.randrange(20)),
            "tier": rng.choice("abc"),
            "batch": f"b{rng.randrange(5000)}",
        }
        return pb.RegisterDeviceRequest(device_id=f"{rng.getrandbits(64):016x}", labels=labels)

    return [pb.RegisterDevicesRequest(devices=[device() for _ in range(_BATCH)]) for _ in range(count // _BATCH)]


async def _stream(requests: list[pb.RegisterDevicesRequest]) -> AsyncIterator[pb.RegisterDevicesRequest]:
    for request in requests:
        yield request
