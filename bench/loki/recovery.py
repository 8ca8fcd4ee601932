"""Downtime of programs after their workers are killed, on a real mesh."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from bench.harness.compare import alone
from bench.harness.results import Metric
from bench.loki.deploy import deploy, load_and_deploy, package
from yggdrasil.loki.v1 import loki_pb2 as lp
from yggdrasil.loki.v1 import program_pb2 as pb
from yggdrasil.loki.v1 import program_pb2_grpc

PROGRAMS = 300
LANGUAGES = {
    "lua": (lp.LANGUAGE_LUA, "n = 0 every('tick', 1, function() n = n + 1 end)"),
    "scheme": (lp.LANGUAGE_SCHEME, "(define n 0) (every 'tick 1 (lambda (_) (set! n (+ n 1))))"),
}
TIMEOUT_S = 60.0


async def measure(loki: Any, rounds: int) -> list[Metric]:
    """Measure both languages; only Lua has a target."""
    programs: Any = program_pb2_grpc.ProgramServiceStub(loki)
    found = []
    for name, (language, source) in LANGUAGES.items():
        loaded = package(f"crowd_{name}", source, language)
        await load_and_deploy(programs, loaded, f"crowd_{name}_0", mesh=True)
        for number in range(1, PROGRAMS):
            await deploy(programs, loaded, f"crowd_{name}_{number}", mesh=True)
        figures = [await _recovery_s(programs, f"crowd_{name}_") for _ in range(rounds)]
        unload = pb.UnloadProgramRequest(program_id=loaded.manifest.id, end_deployments=True)
        await programs.UnloadProgram(unload, timeout=60)
        found.append(
            alone(
                "worker_recovery_s" if name == "lua" else f"worker_recovery_{name}_s",
                figures,
                unit="s",
                better="lower",
                target=1 if name == "lua" else None,
                n=PROGRAMS,
                note="all workers of 300 programs killed together, until every program is reported as running; reported"
                " every 0.1 s, polled every 0.05 s; saturated: the service's core",
            )
        )
    return found


async def _recovery_s(programs: Any, prefix: str) -> float:
    before = await _wait_for_all(programs, prefix, set())
    victims = {pid for _, pid in before}
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    began = time.perf_counter()
    await _wait_for_all(programs, prefix, victims)
    took_s = time.perf_counter() - began
    await asyncio.sleep(1.0)
    return took_s


async def _wait_for_all(programs: Any, prefix: str, gone: set[int]) -> list[tuple[str, int]]:
    """Return the deployments and their workers once all programs run outside the workers `gone`."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            found = (await programs.ListInstances(pb.ListInstancesRequest(), timeout=30)).instances
            ours = [each for each in found if each.deployment_id.startswith(prefix)]
            running = [each for each in ours if each.state == pb.INSTANCE_STATE_RUNNING and each.worker_pid]
            if len(running) == PROGRAMS and not gone & {each.worker_pid for each in running}:
                return [(each.deployment_id, each.worker_pid) for each in running]
            await asyncio.sleep(0.05)
