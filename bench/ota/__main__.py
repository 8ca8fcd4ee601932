"""`python -m bench.ota`: a fleet takes 1 MB over the link; calls meanwhile; how soon a rollout halts.

Agents run many to a process (`--count`), so a restart is within the process and nothing is executed: what is measured
is the way from release to confirmed, not the boot of a device. Writes bench/results/ota.json.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from typing import Any

import uvloop

from bench.harness import report
from bench.harness.agents import Agents
from bench.harness.identities import BenchPki
from bench.harness.machine import pick
from bench.harness.mesh import Mesh, running_mesh
from bench.harness.process import BenchError
from bench.harness.results import Metric, save
from bench.ota import setup
from bench.ota.setup import CHUNK, CLASS, SLOT, Fleet
from yggdrasil.device.v1 import ota_pb2 as link
from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc
from yggdrasil.ota.v1 import relay_pb2
from yggdrasil.ota.v1 import rollout_pb2 as pb

IMAGE_BYTES = 1_000_000
LIMIT_S = 900.0
CALL_GAP_S = 0.05


async def measure(mesh: Mesh) -> list[Metric]:
    """All of it, on one mesh."""
    count = pick(100, 1000)
    async with setup.clients(mesh) as fleet:
        root = await fleet.trust()
        folder = mesh.folder / "flash"
        folder.mkdir()
        factory = mesh.folder / "factory.bin"
        factory.write_bytes(setup.image_of(64_000))
        slots = ["--slots", str(folder), "--slot-bytes", str(SLOT), "--ota-root", str(root)]
        agents = Agents(mesh, "ota", count, *slots, "--factory-image", str(factory), "--device-class", CLASS)
        try:
            await asyncio.to_thread(agents.await_active, max(60.0, count / 10))
            return [*await _fleet(mesh, fleet, count), *await _halt(mesh, fleet)]
        finally:
            agents.process.stop()


async def _fleet(mesh: Mesh, fleet: Fleet, count: int) -> list[Metric]:
    release = await fleet.release(setup.image_of(IMAGE_BYTES))
    await _known(fleet, release, count)
    before = {name: mesh.running[name].rss_kb() for name in ("jotunheim_bridge", "ota")}
    peak = dict(before)
    spec = pb.RolloutSpec(release_id=release, device_timeout_s=int(LIMIT_S), halt_percent=100)
    started = time.monotonic()
    rollout = (await fleet.rollouts.StartRollout(pb.StartRolloutRequest(spec=spec), timeout=30)).rollout
    calls = asyncio.create_task(_calls(mesh))
    while True:
        found = (await fleet.rollouts.GetRollout(pb.GetRolloutRequest(id=rollout.id), timeout=30)).rollout
        peak = {name: max(peak[name], mesh.running[name].rss_kb()) for name in peak}
        took = time.monotonic() - started
        if found.state == pb.ROLLOUT_STATE_DONE:
            break
        if took > LIMIT_S or found.counts.failed or found.counts.reverted:
            raise BenchError(f"the fleet was not updated: {found}")
        await asyncio.sleep(0.2)
    calls.cancel()
    late = await asyncio.gather(calls, return_exceptions=True)
    times: list[float] = late[0] if isinstance(late[0], list) else []
    if found.counts.confirmed != count:
        raise BenchError(f"{found.counts.confirmed} of {count} confirmed")
    grown = {name: (peak[name] - before[name]) / 1024 for name in peak}
    window = f"chunks of {CHUNK} bytes, {count} devices in one agent process, restarts within it"
    rate = count * IMAGE_BYTES / took / 1e6
    return [
        Metric("fleet_update_s", took, "s", "lower", target=60, n=count, note=window),
        Metric("update_rate", rate, "MB/s", "higher", n=count, note="until all are confirmed, boots included"),
        Metric("update_throughput", None, "MB/s", "higher", target=0.1, note="its peer nginx was not measured"),
        Metric("bridge_grown_mb", grown["jotunheim_bridge"], "MB", "lower", n=count, note="peak above the start"),
        Metric("ota_grown_mb", grown["ota"], "MB", "lower", n=count, note="peak above the start"),
        _call_metric(times),
    ]


def _call_metric(times: list[float]) -> Metric:
    key, note = "call_p99_ms_during_update", "one call after another to a device that is being updated, at full rate"
    if len(times) < 20:
        return Metric(key, None, "ms", "lower", target=25, note="too few calls")
    p99 = statistics.quantiles(times, n=100)[98] * 1000
    return Metric(key, p99, "ms", "lower", target=25, n=len(times), note=note)


async def _calls(mesh: Mesh) -> list[float]:
    """Seconds of each call until cancelled; those to a device that restarts do not count."""
    times: list[float] = []
    async with mesh.channel("jotunheim_bridge") as channel:
        stub: Any = bridge_pb2_grpc.BridgeServiceStub(channel)
        try:
            while True:
                at = time.monotonic()
                try:
                    request = bridge_pb2.ReadPropertyRequest(device_id="ota-1", capability="led0", property="on")
                    await stub.ReadProperty(request, timeout=10)
                    times.append(time.monotonic() - at)
                except Exception:  # noqa: BLE001 - the device restarts into its new image
                    pass
                await asyncio.sleep(CALL_GAP_S)
        except asyncio.CancelledError:
            return times


async def _known(fleet: Fleet, release: str, count: int) -> None:
    request = pb.StartRolloutRequest(spec=pb.RolloutSpec(release_id=release), dry_run=True)
    until = time.monotonic() + 60
    while (found := (await fleet.rollouts.StartRollout(request, timeout=30)).rollout.counts).total != count:
        if time.monotonic() > until:
            raise BenchError(f"{found.total} of {count} devices could take the release")
        await asyncio.sleep(0.2)


async def _halt(mesh: Mesh, fleet: Fleet) -> list[Metric]:
    """From a device's word that it fell back to the rollout's halt; its word is said as its bridge would say it."""
    times = []
    for _ in range(3):
        release = await fleet.release(setup.image_of(IMAGE_BYTES))
        await asyncio.sleep(2.5)
        spec = pb.RolloutSpec(release_id=release, halt_count=1, waves=[pb.Wave(count=1), pb.Wave(percent=100)])
        rollout = (await fleet.rollouts.StartRollout(pb.StartRolloutRequest(spec=spec), timeout=30)).rollout
        device = await _begun(fleet, rollout.id)
        at = time.monotonic()
        await _fails(fleet, device)
        while (await _state(fleet, rollout.id)) != pb.ROLLOUT_STATE_HALTED:
            if time.monotonic() - at > 30:
                raise BenchError("a rollout did not halt")
            await asyncio.sleep(0.01)
        times.append(time.monotonic() - at)
    spread = (min(times), max(times))
    return [Metric("halt_s", statistics.median(times), "s", "lower", spread=spread, target=2, n=len(times))]


async def _state(fleet: Fleet, rollout: str) -> int:
    found = (await fleet.rollouts.GetRollout(pb.GetRolloutRequest(id=rollout), timeout=30)).rollout
    return int(found.state)


async def _begun(fleet: Fleet, rollout: str) -> str:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = (await fleet.rollouts.ListUpdates(pb.ListUpdatesRequest(rollout_id=rollout), timeout=30)).updates
        if found:
            return str(found[0].device_id)
        await asyncio.sleep(0.01)
    raise BenchError("no canary was started")


async def _fails(fleet: Fleet, device: str) -> None:
    """The canary says that its last update is over by another bridge's mouth; the id comes from its answer."""
    status = link.OtaStatus(
        nonce=secrets.token_bytes(16),
        state=link.OTA_STATE_IDLE,
        image_sha256=bytes(32),
        root_version=1,
        slot_size_bytes=SLOT,
        security_counter=1,
    )
    request = relay_pb2.ReportRequest(device_id=device, device_class=CLASS, rx_frame_bytes=4096, status=status)
    answer = await fleet.relay.Report(request, timeout=10)
    update = answer.offer.offer.update_id
    if not update:
        raise BenchError(f"{device} was offered nothing")
    result = link.OtaResult(update_id=update, outcome=link.OTA_OUTCOME_REVERTED, code=link.OTA_CODE_NOT_CONFIRMED)
    await fleet.relay.Report(relay_pb2.ReportRequest(device_id=device, result=result), timeout=10)


async def main() -> None:
    """The benchmark."""
    with running_mesh(BenchPki(), setup.start) as mesh:
        metrics = await measure(mesh)
    for metric in metrics:
        ours = "not measured" if metric.ours is None else f"{metric.ours:.4g} {metric.unit}"
        print(f"  {metric.key:28} {ours}  {metric.note}", flush=True)
    save("ota", metrics)
    report.write()


if __name__ == "__main__":
    uvloop.run(main())
