"""rss_kb_per_device and reconnect_storm_s: a bridge with thousands of devices, and the effects of killing it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter

from bench.harness.agents import POLL_S, Agents, agents
from bench.harness.compare import alone, alternate, compared, percentile
from bench.harness.machine import pick, quick, rounds
from bench.harness.mesh import Mesh
from bench.harness.process import BenchError, Child, until
from bench.harness.results import Metric
from bench.link import peers
from bench.link.caller import Pipeline
from bench.link.stored import EventStream

_PREFIX = "crowd"
_STORM_S = 900.0
_SWEEP = 200
_TOLERANCE = 0.005


async def measure(mesh: Mesh, ramp: int) -> list[Metric]:
    """Measure memory, each time with a fresh bridge; then the storm, once per round."""
    count = pick(2000, 10_000)
    issuing_s = mesh.pki.issue_devices(_PREFIX, count)
    if issuing_s > 1:
        print(f"  issued the identities of {count} devices in {issuing_s:.1f} s", flush=True)
    storms: list[Storm] = []
    bases: list[float] = []

    async def ours() -> float:
        mesh.bridge.stop()
        bridge = mesh.start_bridge()
        bases.append(bridge.rss_kb() / count)
        with agents(mesh, _PREFIX, count, "--ramp", str(ramp), within_s=600) as fleet:
            await _await_stable_rss(bridge)
            rss = bridge.rss_kb() / count
            if not storms or not quick():  # one is enough for the short run
                storms.append(await _storm(mesh, fleet))
        return rss

    async def broker() -> float:
        return await _broker_rss(mesh, count)

    mine, other = await alternate(rounds(), ours, broker)
    growth = [one - base for one, base in zip(mine, bases, strict=True)]
    return [
        compared(
            "rss_kb_per_device",
            mine,
            other,
            peer_name=peers.MOSQUITTO,
            unit="KiB",
            better="lower",
            target=2.7,
            n=count,
            note="all resident memory of the process divided by its devices, negotiated and idle"
            + (f"; with {count} devices the bridge's own base weighs more than with 10,000" if quick() else ""),
        ),
        alone("rss_kb_per_device_total", mine, unit="KiB", better="lower", target=40, n=count),
        alone("rss_kb_per_device_growth", growth, unit="KiB", better="lower", n=count, note="without the base memory"),
        *_storm_metrics(storms, count),
    ]


async def _await_stable_rss(process: Child, within_s: float = 20.0) -> None:
    """Wait until memory has changed by less than half a percent for two seconds."""
    deadline, before = time.monotonic() + within_s, 0
    while time.monotonic() < deadline:
        now = process.rss_kb()
        if abs(now - before) <= now * _TOLERANCE:
            return
        before = now
        await asyncio.sleep(2)


async def _broker_rss(mesh: Mesh, count: int) -> float:
    with peers.broker(mesh.pki) as broker:
        child = peers.bench_peer(mesh.pki, "connect", broker.port, _PREFIX, count=count, window=64, hold=True)
        result = await asyncio.to_thread(child.line)
        if result["in"] != count:
            raise BenchError(f"the broker accepted {result['in']} of {count}")
        await _await_stable_rss(broker.process)
        rss = broker.process.rss_kb() / count
        child.end_of_input()
        child.stop()
    return rss


class Storm:
    """Outcome of a storm: seconds until all devices were active and until each had responded, and their attempts."""

    def __init__(self, active_s: float, callable_s: float, attempts: list[float]) -> None:
        self.active_s, self.callable_s = active_s, callable_s
        self.attempts = attempts
        """Seconds from the kill to each attempt to connect, ascending."""

    @property
    def peak_share(self) -> float:
        """Maximum fraction of all attempts in one tenth of a second."""
        buckets = Counter(int(attempt * 10) for attempt in self.attempts)
        return max(buckets.values()) / len(self.attempts)


async def _storm(mesh: Mesh, fleet: Agents) -> Storm:
    """Send SIGKILL, start a new bridge immediately, and wait until every device has responded to a read."""
    killed_unix, killed = time.time(), time.monotonic()
    mesh.bridge.kill()
    mesh.start_bridge()
    await asyncio.to_thread(
        until,
        lambda: _reconnected(fleet, killed_unix),
        _STORM_S,
        f"all {fleet.count} devices active after the storm, see {fleet.process.log}",
        POLL_S * 3,
    )
    active_s = time.monotonic() - killed
    async with mesh.channel("jotunheim_bridge") as channel, EventStream(mesh) as stream:
        pipeline = Pipeline(channel)
        await pipeline.reach(fleet.ids, _SWEEP, _STORM_S)
        callable_s = time.monotonic() - killed
        pipeline.close()
        await stream.settled()
    attempts = [at - killed_unix for at in fleet.times("connecting") if at > killed_unix]
    return Storm(active_s, callable_s, attempts)


def _reconnected(fleet: Agents, killed_unix: float) -> bool:
    devices = fleet.devices()
    return all(device.state == "active" and device.counters["sessions"] > 1 for device in devices)


def _storm_metrics(storms: list[Storm], count: int) -> list[Metric]:
    middle = sorted(storms, key=lambda storm: storm.callable_s)[len(storms) // 2].attempts
    quartiles = [percentile(middle, share) for share in (0.01, 0.25, 0.5, 0.75, 0.99)]
    times = " / ".join(f"{at:.1f}" for at in quartiles)
    tries = statistics.median(len(storm.attempts) / count for storm in storms)
    return [
        alone(
            "reconnect_storm_s",
            [storm.callable_s for storm in storms],
            unit="s",
            better="lower",
            n=count,
            note="from SIGKILL until each device has responded to a read; a new process starts immediately",
        ),
        alone("reconnect_storm_active_s", [storm.active_s for storm in storms], unit="s", better="lower", n=count),
        alone(
            "reconnect_peak_share_100ms",
            [storm.peak_share for storm in storms],
            unit="of all attempts",
            better="lower",
            n=sum(len(storm.attempts) for storm in storms),
            note=f"maximum fraction of attempts in one tenth of a second; {tries:.1f} attempts a device; "
            f"after {times} s (percentiles 1 / 25 / 50 / 75 / 99)",
        ),
    ]
