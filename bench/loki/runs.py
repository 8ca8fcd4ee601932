"""What a run, a call from a program and a lost worker cost, on the real mesh with the real agent."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from lupa import lua54

from bench.harness.agents import agents
from bench.harness.compare import alone, alternate, compared
from bench.harness.machine import ROOT
from bench.harness.mesh import Mesh
from bench.harness.process import free_ports
from bench.harness.results import Metric
from services.chassis import channel
from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc
from yggdrasil.loki.v1 import loki_pb2 as lp
from yggdrasil.loki.v1 import loki_pb2_grpc, program_pb2_grpc
from yggdrasil.loki.v1 import program_pb2 as pb

LANGUAGES = {"lua": lp.LANGUAGE_LUA, "scheme": lp.LANGUAGE_SCHEME}
ONE = {"lua": "return 1", "scheme": "1"}
TURNS = 10_000_000
LOOP = {
    "lua": f"local x = 0 for i = 1, {TURNS} do x = x + i % 7 end return x",
    "scheme": f"(let loop ((i 1) (x 0)) (if (> i {TURNS}) x (loop (+ i 1) (+ x (remainder i 7)))))",
}
BARE_GUILE = """
(use-modules (system base compile))
(define f (compile '(lambda () %s) #:env (make-fresh-user-module) #:optimization-level 2))
(f)
(let ((t (get-internal-real-time)))
  (f)
  (display (/ (exact->inexact (- (get-internal-real-time) t)) internal-time-units-per-second)))
"""
RECOVERED = 300


async def p50_ms(count: int, call: Callable[[], Awaitable[Any]]) -> float:
    """The median of calls one after the other, in milliseconds."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        await call()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def _bare_lua() -> float:
    runtime = lua54.LuaRuntime(register_eval=False, register_builtins=False)
    function = runtime.compile(LOOP["lua"])
    function()
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _bare_scheme() -> float:
    argv = ["guile", "--no-auto-compile", "-c", BARE_GUILE % LOOP["scheme"]]
    return float(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout)


async def measure(mesh: Mesh, *, quick: bool) -> list[Metric]:
    """All of it."""
    mesh.ports["loki"] = free_ports(1)[0]
    mesh.start_service(
        "loki",
        within_s=60,
        registry_endpoint=f"127.0.0.1:{mesh.ports['registry']}",
        bridge_endpoint=f"127.0.0.1:{mesh.ports['jotunheim_bridge']}",
        data_dir=str(ROOT / "build" / "bench" / "scheme"),
    )
    rounds, found = (3 if quick else 5), list[Metric]()
    async with mesh.channel("loki") as loki:
        found += await _executes(mesh, loki, rounds, 200 if quick else 1000)
        found += await _computes(loki, rounds)
        with agents(mesh, "loki-bench", 1) as fleet:
            found += await _calls(mesh, loki, fleet.ids[0], rounds)
        found.append(await _recovery(loki))
    return found


async def _executes(mesh: Mesh, loki: Any, rounds: int, count: int) -> list[Metric]:
    stub: Any = loki_pb2_grpc.LokiServiceStub(loki)
    argv = [sys.executable, "-m", "bench.loki.echo", str(mesh.pki.directory("service", "loki"))]
    echo = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ})  # noqa: ASYNC220
    found = []
    try:
        port = int(await asyncio.to_thread(echo.stdout.readline))  # type: ignore[union-attr]
        async with channel.connect(f"127.0.0.1:{port}", mesh.pki.files("user", "bench")) as peer:
            call: Any = peer.unary_unary("/bench.Echo/Echo")
            for name, language in LANGUAGES.items():
                request = lp.ExecuteRequest(source=ONE[name], language=language)
                body = request.SerializeToString()
                await p50_ms(20, lambda request=request: stub.Execute(request, timeout=10))  # type: ignore[misc]
                ours, theirs = await alternate(
                    rounds,
                    lambda request=request: p50_ms(count, lambda: stub.Execute(request, timeout=10)),  # type: ignore[misc]
                    lambda body=body: p50_ms(count, lambda: call(body, timeout=10)),  # type: ignore[misc]
                )
                key = f"execute_{name}_p50"
                found.append(
                    compared(
                        key, ours, theirs, peer_name="grpc.aio unary echo", unit="ms", better="lower", target=2, n=count
                    )
                )
    finally:
        echo.kill()
        echo.wait()
    return found


async def _computes(loki: Any, rounds: int) -> list[Metric]:
    stub: Any = loki_pb2_grpc.LokiServiceStub(loki)
    found = []
    for name, bare in (("lua", _bare_lua), ("scheme", _bare_scheme)):
        request = lp.ExecuteRequest(source=LOOP[name], language=LANGUAGES[name])
        await stub.Execute(request, timeout=60)

        async def ours(request: lp.ExecuteRequest = request) -> float:
            answer = await stub.Execute(request, timeout=60)
            return float(answer.result.duration.ToMicroseconds()) / 1000

        async def theirs(bare: Callable[[], float] = bare) -> float:
            return await asyncio.to_thread(bare) * 1000

        figures = await alternate(rounds, ours, theirs)
        note = "10 M turns of a loop; ours includes loading the script"
        found.append(
            compared(
                f"compute_{name}",
                *figures,
                peer_name="bare engine",
                unit="ms",
                better="lower",
                target=1.3,
                n=TURNS,
                note=note,
            )
        )
    return found


async def _deployed(programs: Any, package: pb.ProgramPackage, deployment: str, **target: Any) -> None:
    await programs.LoadProgram(pb.LoadProgramRequest(package=package), timeout=30)
    request = pb.DeployProgramRequest(
        program_id=package.manifest.id, deployment_id=deployment, target=pb.ProgramTarget(**target)
    )
    await programs.DeployProgram(request, timeout=30)


def _package(name: str, source: str) -> pb.ProgramPackage:
    limits = pb.ProgramLimits(host_calls_per_second=1000)
    manifest = pb.ProgramManifest(id=name, version="1.0.0", language=lp.LANGUAGE_LUA, limits=limits)
    return pb.ProgramPackage(manifest=manifest, source=source)


async def _calls(mesh: Mesh, loki: Any, device: str, rounds: int) -> list[Metric]:
    programs: Any = program_pb2_grpc.ProgramServiceStub(loki)
    await _deployed(programs, _package("caller", "x = 1"), "caller", device_id=device)
    count = 300
    text = (
        f"local t = {{}} for i = 1, {count} do local a = time() device:read('temp0.celsius') t[i] = time() - a end"
        " table.sort(t) return t[#t // 2]"
    )
    request = pb.EvalProgramRequest(instance=pb.InstanceRef(deployment_id="caller"), source=text)
    read = bridge_pb2.ReadPropertyRequest(device_id=device, capability="temp0", property="celsius")
    async with mesh.channel("jotunheim_bridge") as bridge:
        stub: Any = bridge_pb2_grpc.BridgeServiceStub(bridge)

        async def ours() -> float:
            await asyncio.sleep(1.5)  # the program's calls a second are limited: let it save up
            return float((await programs.EvalProgram(request, timeout=60)).value.double) * 1000

        async def theirs() -> float:
            return await p50_ms(count, lambda: stub.ReadProperty(read, timeout=5))

        await ours()
        figures = await alternate(rounds, ours, theirs)
    note = "a read of a property; ours is the program's own clock, whose reading costs a host call itself"
    return [
        compared(
            "device_call_vs_client",
            *figures,
            peer_name="gRPC client",
            unit="ms",
            better="lower",
            target=1.5,
            n=count,
            note=note,
        )
    ]


async def _recovery(loki: Any) -> Metric:
    programs: Any = program_pb2_grpc.ProgramServiceStub(loki)
    package = _package("crowd", "n = 0 every('tick', 1, function() n = n + 1 end)")
    for number in range(RECOVERED):
        await _deployed(programs, package, f"crowd_{number}", mesh=True)

    async def pids() -> list[int]:
        found = (await programs.ListInstances(pb.ListInstancesRequest(), timeout=30)).instances
        return [each.worker_pid if each.state == pb.INSTANCE_STATE_RUNNING else 0 for each in found]

    while 0 in (before := await pids()):  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    victims = set(before)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    began = time.perf_counter()
    while True:
        now = await pids()
        if 0 not in now and not victims & set(now):
            break
        await asyncio.sleep(0.02)
    took = time.perf_counter() - began
    note = "all workers killed; until every program is told to run again, which is told every 0.1 s"
    return alone("worker_recovery_s", [took], unit="s", better="lower", target=1, n=len(before), note=note)
