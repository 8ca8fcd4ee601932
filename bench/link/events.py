"""durable_events_*: events of many devices until stored in the stream, against bare publishers of the same events.

Ours: boards of C agents raise events, each device within its window; the bridge stores and acknowledges them.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict

from bench.harness.agents import Agents, agents
from bench.harness.compare import alternate, compared
from bench.harness.machine import BUILD, pick, rounds
from bench.harness.mesh import Mesh
from bench.harness.process import BenchError, Child
from bench.harness.results import Metric
from bench.link import peers
from bench.link.bare_publisher import event_bytes
from bench.link.stored import EventStream

_DEVICES = 100
_OUTSTANDING = 16
_CHUNK = 400
_PREFIX = "event"
_TIMEOUT_S = 120.0


async def measure(mesh: Mesh) -> list[Metric]:
    """Measure both comparisons alternately."""
    total = pick(6000, 30_000)
    mesh.pki.issue_devices(_PREFIX, _DEVICES)
    async with EventStream(mesh) as stream:
        with agents(mesh, _PREFIX, _DEVICES) as fleet:
            await stream.settled()
            source = Boards(fleet, stream)
            await source.rate(total // 3)  # warm
            figures = await alternate(
                rounds(),
                lambda: source.rate(total),
                lambda: _bare(mesh, total),
                lambda: _mosquitto(mesh, total),
            )
            source.check()
    ours, bare, broker = figures
    count = total * rounds()
    return [
        compared(
            "durable_events_rate",
            ours,
            bare,
            peer_name="bare nats-py publish_async",
            unit="events/s",
            better="higher",
            target=0.5,
            n=count,
            note=f"{_DEVICES} C agents; the same stream, subject length, headers and payload",
        ),
        compared(
            "durable_events_vs_mosquitto",
            ours,
            broker,
            peer_name="Mosquitto TLS QoS 1, persistent, one queueing subscriber",
            unit="events/s",
            better="higher",
            n=count,
            note="Mosquitto acknowledges before writing to disk and writes its whole store every two minutes",
        ),
    ]


class Boards:
    """Raises events on the boards of all devices in turn: a pin changes its level."""

    def __init__(self, fleet: Agents, stream: EventStream) -> None:
        self._fleet, self._stream, self._raised = fleet, stream, 0
        self._levels: dict[str, bool] = defaultdict(bool)

    async def rate(self, total: int) -> float:
        """Return events per second, from the first raised to the last stored."""
        before, raised, stored = await self._stream.settled(0.3), 0, 0
        started = time.monotonic()
        while stored < total:
            while raised < total and raised - stored < _DEVICES * _OUTSTANDING:
                count = min(_CHUNK, total - raised)
                await asyncio.to_thread(self._fleet.ask, *(self._change(raised + i) for i in range(count)))
                raised += count
                stored = await self._stream.messages() - before
            await asyncio.sleep(0.005)
            stored = await self._stream.messages() - before
            if time.monotonic() - started > _TIMEOUT_S:
                raise BenchError(f"{stored} of {total} events are stored after {_TIMEOUT_S:g} s")
        took = time.monotonic() - started
        if stored != total or await self._stream.settled(0.3) - before != total:
            raise BenchError(f"{stored} events are stored, {total} were raised")
        self._raised += total
        return total / took

    def _change(self, number: int) -> str:
        device = self._fleet.ids[number % _DEVICES]
        self._levels[device] = not self._levels[device]
        return f"set {device} gpio0.pin0 {'on' if self._levels[device] else 'off'}"

    def check(self) -> None:
        """Raise BenchError if a device has dropped an event."""
        devices = self._fleet.devices()
        dropped = sum(device.counters["dropped"] for device in devices)
        events = sum(device.counters["events"] for device in devices)
        if dropped or events != self._raised:
            raise BenchError(f"{events} events, {self._raised} were raised, {dropped} dropped")


async def _bare(mesh: Mesh, total: int) -> float:
    identity = mesh.pki.directory("service", "jotunheim_bridge")
    argv = [sys.executable, "-m", "bench.link.bare_publisher", mesh.nats_url, str(identity), str(total)]
    child = Child("bare publisher", argv, BUILD / "bare-publisher.log")
    result = await asyncio.to_thread(peers.one_result, child)
    return total / float(result["seconds"])


async def _mosquitto(mesh: Mesh, total: int) -> float:
    payload = len(event_bytes(1))
    with peers.broker(mesh.pki) as broker:
        peers.one_result(peers.bench_peer(mesh.pki, "queue", broker.port, f"{_PREFIX}-1"))
        options = {"count": _DEVICES, "messages": total, "payload": payload, "window": _OUTSTANDING}
        child = peers.bench_peer(mesh.pki, "publish", broker.port, _PREFIX, **options)
        result = await asyncio.to_thread(peers.one_result, child)
    if result["messages"] != total:
        raise BenchError(f"Mosquitto acknowledged {result['messages']} of {total}")
    return total / float(result["seconds"])
