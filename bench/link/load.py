"""call_p99_ms_under_load: calls at a constant rate while other devices send 1,000 telemetry messages a second."""

from __future__ import annotations

import asyncio
import sys

from bench.harness.agents import agents
from bench.harness.compare import alone, percentile
from bench.harness.machine import BUILD, pick, rounds
from bench.harness.mesh import Mesh
from bench.harness.process import BenchError, Child
from bench.harness.results import Metric
from bench.link.caller import Pipeline
from bench.link.stored import EventStream

_DEVICES = 20
_RATE = 1000
_CALLED, _CALLS_A_SECOND = 16, 100  # a stall of a second stays within the devices' calls in flight
_PREFIX = "telemetry"


async def measure(mesh: Mesh) -> list[Metric]:
    """Measure the figure; raise BenchError if telemetry did not reach that rate."""
    for index in range(1, _DEVICES + 1):
        mesh.pki.directory("device", f"{_PREFIX}-{index}")  # with services.pem for the telemetry source
    seconds = pick(8, 30)
    figures: list[float] = []
    async with mesh.channel("jotunheim_bridge") as channel, EventStream(mesh) as stream:
        with agents(mesh, "loaded", _CALLED) as fleet:
            pipeline = Pipeline(channel)
            await pipeline.timed(fleet.ids[0], 100)
            for _ in range(rounds()):
                figures.append(await _round(mesh, stream, pipeline, fleet.ids, seconds))
            pipeline.close()
    return [
        alone(
            "call_p99_ms_under_load",
            figures,
            unit="ms",
            better="lower",
            target=10,
            n=seconds * _CALLS_A_SECOND * rounds(),
            note=f"{_CALLS_A_SECOND} calls/s to {_CALLED} other devices, each timed from when it was due; "
            f"{_RATE} telemetry messages/s "
            f"of {_DEVICES} devices, all stored in the stream",
        )
    ]


async def _round(mesh: Mesh, stream: EventStream, pipeline: Pipeline, called: list[str], seconds: int) -> float:
    argv = [sys.executable, "-m", "bench.link.telemetry", str(mesh.pki.path), mesh.link, _PREFIX]
    source = Child("telemetry", [*argv, str(_DEVICES), str(_RATE), str(seconds + 1)], BUILD / "telemetry.log")
    try:
        await asyncio.to_thread(source.line)
        await asyncio.sleep(0.5)
        before = await stream.messages()
        took = await pipeline.paced(called, seconds * _CALLS_A_SECOND, _CALLS_A_SECOND)
        stored = await stream.messages() - before
        sent = await asyncio.to_thread(source.line)
    finally:
        source.stop()
    if stored < 0.9 * _RATE * seconds:
        raise BenchError(f"{stored} telemetry messages were stored in {seconds} s, {sent}: below the intended load")
    return percentile(took, 0.99)
