"""A fleet installs an image, alternating with downloads from nginx: throughput, and time until all have confirmed.

Many agents share a process (`--count`), so a restart is within the process and nothing is executed: the path from
release to confirmation is measured, not the boot of a device. An image has arrived when the device has written it,
read it back and verified its hash (`ota_installed`).
"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass, field

from bench.harness.agents import Agents
from bench.harness.compare import alone, compared
from bench.harness.machine import pick, rounds
from bench.harness.mesh import Mesh
from bench.harness.process import BenchError
from bench.harness.results import Metric
from bench.ota import nginx, setup
from bench.ota.setup import CHUNK, Fleet
from yggdrasil.ota.v1 import rollout_pb2 as pb

IMAGE_BYTES = 1_000_000
TIMEOUT_S = 900.0
POLL_S = 0.5
WATCHED = ("jotunheim_bridge", "ota")


@dataclass
class Round:
    """One update of the fleet: bytes per second until all have the image, seconds until all are confirmed."""

    bytes_a_second: float = 0.0
    confirmed_s: float = 0.0
    before_kb: dict[str, int] = field(default_factory=dict)
    grown_kb: dict[str, int] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)


@dataclass
class Bench:
    """The mesh, clients of ota, the updated agents, and the number of further updated devices in another process."""

    mesh: Mesh
    fleet: Fleet
    agents: Agents
    extra: int = 0

    @property
    def count(self) -> int:
        """Number of updated devices."""
        return self.agents.count + self.extra

    async def update(self, image: bytes, rate_per_minute: int = 0) -> Round:
        """Release an image and roll it out to all; raise BenchError if a device does not confirm it."""
        release = await self.fleet.release(image)
        await self._await_fit(release)
        had, found = len(self.agents.times("ota_installed")), Round()
        rss, cpu = self._rss(), self._cpu()
        found.before_kb = rss
        spec = pb.RolloutSpec(
            release_id=release, device_timeout_s=int(TIMEOUT_S), halt_percent=100, rate_per_minute=rate_per_minute
        )
        at, started = time.time(), time.monotonic()
        rollout = (await self.fleet.rollouts.StartRollout(pb.StartRolloutRequest(spec=spec), timeout=30)).rollout
        while (now := await self._rollout(rollout.id)).state != pb.ROLLOUT_STATE_DONE:
            found.grown_kb = {
                name: max(found.grown_kb.get(name, 0), kb - rss[name]) for name, kb in self._rss().items()
            }
            if time.monotonic() - started > TIMEOUT_S or now.counts.failed or now.counts.reverted:
                raise BenchError(f"the fleet was not updated: {now}")
            await asyncio.sleep(POLL_S)
        found.confirmed_s = time.monotonic() - started
        found.cpu_s = {name: used - cpu[name] for name, used in self._cpu().items()}
        arrived = self.agents.times("ota_installed")[had:]
        if now.counts.confirmed != self.count or len(arrived) != self.agents.count:
            raise BenchError(f"{now.counts.confirmed} of {self.count} confirmed, {len(arrived)} installed")
        found.bytes_a_second = self.agents.count * len(image) / (arrived[-1] - at)
        return found

    async def _await_fit(self, release: str) -> None:
        """Wait until ota considers every device fit for the release."""
        request = pb.StartRolloutRequest(spec=pb.RolloutSpec(release_id=release), dry_run=True)
        until = time.monotonic() + 120
        while (await self.fleet.rollouts.StartRollout(request, timeout=30)).rollout.counts.total != self.count:
            if time.monotonic() > until:
                raise BenchError(f"not all of {self.count} devices could take the release")
            await asyncio.sleep(POLL_S)

    async def _rollout(self, rollout_id: str) -> pb.Rollout:
        answer: pb.GetRolloutResponse = await self.fleet.rollouts.GetRollout(
            pb.GetRolloutRequest(id=rollout_id), timeout=30
        )
        return answer.rollout

    def _rss(self) -> dict[str, int]:
        return {name: self.mesh.running[name].rss_kb() for name in WATCHED}

    def _cpu(self) -> dict[str, float]:
        return {**self.mesh.cpu_s(), "agents": self.agents.process.cpu_s()}


async def measure(bench: Bench) -> tuple[list[Metric], float]:
    """Return the metrics, and the seconds of an update of all."""
    ours: list[Round] = []
    peer: list[float] = []
    with nginx.server(bench.mesh.pki) as server:
        for turn in range(rounds()):
            image = setup.image_of(IMAGE_BYTES)
            if turn % 2 == 0:
                ours.append(await bench.update(image))
            peer.append(await asyncio.to_thread(server.download, image, bench.agents.prefix, bench.agents.count))
            if turn % 2 == 1:
                ours.append(await bench.update(image))
    return _metrics(ours, peer, bench.agents.count), statistics.median(one.confirmed_s for one in ours)


def _metrics(ours: list[Round], peer: list[float], count: int) -> list[Metric]:
    cpu = {name: statistics.median(one.cpu_s[name] for one in ours) / count * 1000 for name in ours[0].cpu_s}
    spent = ", ".join(f"{name} {ms:.0f}" for name, ms in cpu.items())
    what = f"{count} devices in one agent process, {IMAGE_BYTES:,} bytes in chunks of {CHUNK}, 16 in flight to each"
    found = [
        compared(
            "update_throughput",
            [one.bytes_a_second / 1e6 for one in ours],
            [one / 1e6 for one in peer],
            peer_name=nginx.NAME,
            unit="MB/s",
            better="higher",
            target=0.1,
            n=count,
            note=f"{what}; from StartRollout until the last device has written and verified it",
        ),
        alone(
            "fleet_update_s",
            [one.confirmed_s for one in ours],
            unit="s",
            better="lower",
            target=60,
            n=count,
            note=f"{what}, restarts within it, until all are confirmed; ms of processor a device: {spent}"
            + ("" if count == pick(-1, 1000) else "; the target is for 1,000 devices"),
        ),
    ]
    for name in WATCHED:
        key = f"{name.removeprefix('jotunheim_')}_grown_mb"
        grown, had = [one.grown_kb[name] / 1024 for one in ours], [one.before_kb[name] / 1024 for one in ours]
        note = (
            f"growth at the peak of an update; {had[0]:.0f} MB before the first round, "
            f"{had[-1]:.0f} before the last of {len(ours)}"
        )
        found.append(alone(key, grown, unit="MB", better="lower", n=count, note=note))
    return found
