"""How long programs stand still when their worker is killed, on the real mesh."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from bench.harness.compare import alone
from bench.harness.results import Metric
from bench.loki.deploy import deploy, deployed, package
from yggdrasil.loki.v1 import loki_pb2 as lp
from yggdrasil.loki.v1 import program_pb2 as pb
from yggdrasil.loki.v1 import program_pb2_grpc

PROGRAMS = 300
LANGUAGES = {
    "lua": (lp.LANGUAGE_LUA, "n = 0 every('tick', 1, function() n = n + 1 end)"),
    "scheme": (lp.LANGUAGE_SCHEME, "(define n 0) (every 'tick 1 (lambda (_) (set! n (+ n 1))))"),
}
WITHIN_S = 60.0


async def measure(loki: Any, rounds: int) -> list[Metric]:
    """Lua's is the one with the target; Scheme's is beside it."""
    programs: Any = program_pb2_grpc.ProgramServiceStub(loki)
    found = []
    for name, (language, source) in LANGUAGES.items():
        what = package(f"crowd_{name}", source, language)
        await deployed(programs, what, f"crowd_{name}_0", mesh=True)
        for number in range(1, PROGRAMS):
            await deploy(programs, what, f"crowd_{name}_{number}", mesh=True)
        figures = [await _once(programs, f"crowd_{name}_") for _ in range(rounds)]
        gone = pb.UnloadProgramRequest(program_id=what.manifest.id, end_deployments=True)
        await programs.UnloadProgram(gone, timeout=60)
        found.append(
            alone(
                "worker_recovery_s" if name == "lua" else f"worker_recovery_{name}_s",
                figures,
                unit="s",
                better="lower",
                target=1 if name == "lua" else None,
                n=PROGRAMS,
                note="all workers of 300 programs killed at once, until every one is told to run again; told every"
                " 0.1 s, looked at every 0.05 s; saturated: the service's core",
            )
        )
    return found


async def _once(programs: Any, prefix: str) -> float:
    before = await _settled(programs, prefix, set())
    victims = {pid for _, pid in before}
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    began = time.perf_counter()
    await _settled(programs, prefix, victims)
    took_s = time.perf_counter() - began
    await asyncio.sleep(1.0)
    return took_s


async def _settled(programs: Any, prefix: str, gone: set[int]) -> list[tuple[str, int]]:
    """Once all of them run, in none of the workers that are `gone`."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            found = (await programs.ListInstances(pb.ListInstancesRequest(), timeout=30)).instances
            ours = [each for each in found if each.deployment_id.startswith(prefix)]
            running = [each for each in ours if each.state == pb.INSTANCE_STATE_RUNNING and each.worker_pid]
            if len(running) == PROGRAMS and not gone & {each.worker_pid for each in running}:
                return [(each.deployment_id, each.worker_pid) for each in running]
            await asyncio.sleep(0.05)
