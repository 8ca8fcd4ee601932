"""Cost of a run, and of a device call from a program, on a real mesh with the real agent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from bench.harness.agents import agents
from bench.harness.compare import alternate, compared
from bench.harness.machine import ROOT
from bench.harness.mesh import Mesh
from bench.harness.results import Metric
from bench.loki.deploy import load_and_deploy, package
from services.chassis import channel
from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc
from yggdrasil.loki.v1 import loki_pb2 as lp
from yggdrasil.loki.v1 import loki_pb2_grpc, program_pb2_grpc, script_pb2, script_pb2_grpc
from yggdrasil.loki.v1 import program_pb2 as pb

LANGUAGES = {"lua": lp.LANGUAGE_LUA, "scheme": lp.LANGUAGE_SCHEME}
Floats = Sequence[float]
ONE = {"lua": "return 1", "scheme": "1"}
CLI_KEYS = {"lua": "vs_lua_cli", "scheme": "vs_guile_cli"}
CLI = {"lua": ("lua5.4", "-e", "print(1)"), "scheme": ("guile", "-c", "(display 1)")}


async def p50_ms(count: int, call: Callable[[], Awaitable[Any]]) -> float:
    """Return the median duration of `count` sequential calls, in milliseconds."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        await call()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


async def measure(loki: Any, mesh: Mesh, rounds: int, *, quick: bool) -> list[Metric]:
    """Measure runs of scripts and device calls of a program."""
    found = await _executes(mesh, loki, rounds, 300 if quick else 1000)
    with agents(mesh, "loki-bench", 1) as fleet:
        found += await _calls(mesh, loki, fleet.ids[0], rounds)
    return found


async def _executes(mesh: Mesh, loki: Any, rounds: int, count: int) -> list[Metric]:
    found = []
    with _echo(mesh) as port:
        async with channel.connect(f"127.0.0.1:{port}", mesh.pki.files("user", "bench"), "loki") as peer:
            echo: Any = peer.unary_unary("/bench.Echo/Echo")
            for name, language in LANGUAGES.items():
                found += await _execute(loki, echo, name, language, rounds, count)
    return found


@contextlib.contextmanager
def _echo(mesh: Mesh) -> Iterator[int]:
    argv = [sys.executable, "-m", "bench.loki.echo", str(mesh.pki.directory("service", "loki"))]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ})
    try:
        yield int(process.stdout.readline())  # type: ignore[union-attr]
    finally:
        process.kill()
        process.wait()


async def _execute(loki: Any, echo: Any, name: str, language: Any, rounds: int, count: int) -> list[Metric]:
    """Compare a registered script called by its typed RPC, its text in Execute, and a process for each run."""
    script = script_pb2.Script(name=f"one_{name}", language=language, source=ONE[name])
    registry: Any = script_pb2_grpc.ScriptServiceStub(loki)
    await registry.RegisterScript(script_pb2.RegisterScriptRequest(script=script), timeout=30)
    typed: Any = loki.unary_unary(f"/yggdrasil.loki.v1.Scripts/Script_one_{name}")
    execute: Any = loki_pb2_grpc.LokiServiceStub(loki).Execute
    request = lp.ExecuteRequest(source=ONE[name], language=language)
    body = request.SerializeToString()
    if (await execute(request, timeout=10)).result.value.int != 1:
        raise ValueError(f"a script of {name} did not return 1")

    async def process() -> float:
        return await asyncio.to_thread(_cli_ms, CLI[name], max(3, count // 50))

    await p50_ms(30, lambda: typed(b"", timeout=10))
    registered, text, theirs, cli = await alternate(
        rounds,
        lambda: p50_ms(count, lambda: typed(b"", timeout=10)),
        lambda: p50_ms(count, lambda: execute(request, timeout=10)),
        lambda: p50_ms(count, lambda: echo(body, timeout=10)),
        process,
    )
    note = "sequential calls, nothing is saturated: the latency of client, service and worker"
    typed_note = f"its typed RPC, Scripts/Script_one_{name}; {note}"

    def metric(key: str, ours: Floats, peer: Floats, target: float | None = None, **overrides: str) -> Metric:
        named = {"peer_name": "grpc.aio unary echo", "note": typed_note, **overrides}
        return compared(key, ours, peer, unit="ms", better="lower", target=target, n=count, **named)

    return [
        metric(f"execute_{name}_p50", registered, theirs, 2),
        metric(f"execute_text_{name}_p50", text, theirs, note=f"Execute with the text; {note}"),
        metric(CLI_KEYS[name], registered, cli, peer_name=f"{CLI[name][0]} started for each run"),
    ]


def _cli_ms(argv: tuple[str, ...], count: int) -> float:
    took = []
    for _ in range(count):
        began = time.perf_counter()
        done = subprocess.run(argv, capture_output=True, check=True, timeout=30)
        took.append((time.perf_counter() - began) * 1000)
        if done.stdout.strip() != b"1":
            raise ValueError(f"{argv[0]} printed {done.stdout!r}")
    return statistics.median(took)


async def _calls(mesh: Mesh, loki: Any, device: str, rounds: int) -> list[Metric]:
    programs: Any = program_pb2_grpc.ProgramServiceStub(loki)
    await load_and_deploy(programs, package("caller", "x = 1"), "caller", device_id=device)
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
            await asyncio.sleep(1.5)  # host calls are rate-limited: let the program save up tokens
            return float((await programs.EvalProgram(request, timeout=60)).value.double) * 1000

        async def theirs() -> float:
            return await p50_ms(count, lambda: stub.ReadProperty(read, timeout=5))

        await ours()
        figures = await alternate(rounds, ours, theirs)
    note = "read of a property; ours is timed by the program, whose clock costs a host call itself"
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
