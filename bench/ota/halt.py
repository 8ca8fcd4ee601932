"""From a device's report of a revert until the rollout halts; the report is sent like that of a bridge."""

from __future__ import annotations

import asyncio
import secrets
import time

from bench.harness.compare import alone
from bench.harness.machine import rounds
from bench.harness.process import BenchError
from bench.harness.results import Metric
from bench.ota import setup
from bench.ota.setup import CLASS, SLOT, Fleet
from yggdrasil.device.v1 import ota_pb2 as link
from yggdrasil.ota.v1 import relay_pb2
from yggdrasil.ota.v1 import rollout_pb2 as pb

IMAGE_BYTES = 1_000_000
POLL_S = 0.01


async def measure(fleet: Fleet) -> list[Metric]:
    """Measure the figure."""
    took = [await _round(fleet) for _ in range(rounds())]
    return [alone("halt_s", took, unit="s", better="lower", target=2, n=len(took))]


async def _round(fleet: Fleet) -> float:
    release = await fleet.release(setup.image_of(IMAGE_BYTES))
    await asyncio.sleep(2.5)  # ota's cached listing of devices expires
    spec = pb.RolloutSpec(release_id=release, halt_count=1, waves=[pb.Wave(count=1), pb.Wave(percent=100)])
    rollout = (await fleet.rollouts.StartRollout(pb.StartRolloutRequest(spec=spec), timeout=30)).rollout
    device = await _first_started(fleet, rollout.id)
    at = time.monotonic()
    await _report_revert(fleet, device)
    while (await _state(fleet, rollout.id)) != pb.ROLLOUT_STATE_HALTED:
        if time.monotonic() - at > 30:
            raise BenchError("a rollout did not halt")
        await asyncio.sleep(POLL_S)
    return time.monotonic() - at


async def _state(fleet: Fleet, rollout: str) -> int:
    found = (await fleet.rollouts.GetRollout(pb.GetRolloutRequest(id=rollout), timeout=30)).rollout
    return int(found.state)


async def _first_started(fleet: Fleet, rollout: str) -> str:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = (await fleet.rollouts.ListUpdates(pb.ListUpdatesRequest(rollout_id=rollout), timeout=30)).updates
        if found:
            return str(found[0].device_id)
        await asyncio.sleep(0.01)
    raise BenchError("no canary was started")


async def _report_revert(fleet: Fleet, device: str) -> None:
    """Report a reverted update for the canary, like another bridge; the update id is in the response to its status."""
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
        raise BenchError(f"{device} got no offer")
    result = link.OtaResult(update_id=update, outcome=link.OTA_OUTCOME_REVERTED, code=link.OTA_CODE_NOT_CONFIRMED)
    await fleet.relay.Report(relay_pb2.ReportRequest(device_id=device, result=result), timeout=10)
