"""Cost of computation: a loop of ten million iterations and a workload of tables or lists, against the bare engine.

The bare engine is the same library (lupa's Lua, the same Guile) without limits, sandbox or service; its function is
compiled and run once before it is timed. Ours is the duration that Execute reports, which includes loading the text.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable
from typing import Any

from lupa import lua54

from bench.harness.compare import alternate, compared
from bench.harness.results import Metric
from yggdrasil.loki.v1 import loki_pb2 as lp
from yggdrasil.loki.v1 import loki_pb2_grpc

ITERATIONS = 10_000_000
ITEMS = 20_000
ROUNDS_OF_ITEMS = 25
MEMORY_BYTES = 128 * 1024 * 1024
LUA_LOOP = f"local x = 0 for i = 1, {ITERATIONS} do x = x + i % 7 end return x"
SCHEME_LOOP = f"(let loop ((i 1) (x 0)) (if (> i {ITERATIONS}) x (loop (+ i 1) (+ x (remainder i 7)))))"
LUA_TABLES = f"""
local total = 0
for round = 1, {ROUNDS_OF_ITEMS} do
  local items, by_name = {{}}, {{}}
  for i = 1, {ITEMS} do items[i] = {{ id = i, value = i * 7919 % 10007 }} end
  table.sort(items, function(a, b) return a.value < b.value or a.value == b.value and a.id < b.id end)
  for _, item in ipairs(items) do
    local name = "n" .. item.value % 512
    by_name[name] = (by_name[name] or 0) + item.id
  end
  for _, sum in pairs(by_name) do total = total + sum end
end
return total"""
SCHEME_LISTS = f"""
(define (once)
  (let* ((items (map (lambda (i) (cons i (remainder (* i 7919) 10007))) (iota {ITEMS} 1)))
         (sorted (sort items (lambda (a b) (or (< (cdr a) (cdr b)) (and (= (cdr a) (cdr b)) (< (car a) (car b)))))))
         (sums (make-vector 512 0)))
    (for-each (lambda (item)
                (let ((at (remainder (cdr item) 512)))
                  (vector-set! sums at (+ (vector-ref sums at) (car item)))))
              sorted)
    (apply + (vector->list sums))))
(let loop ((round 0) (total 0)) (if (= round {ROUNDS_OF_ITEMS}) total (loop (+ round 1) (+ total (once)))))"""
TOTAL = ROUNDS_OF_ITEMS * ITEMS * (ITEMS + 1) // 2
LOOP_TOTAL = sum(i % 7 for i in range(7)) * (ITERATIONS // 7) + sum(i % 7 for i in range(ITERATIONS % 7 + 1))
BARE_GUILE = """
(use-modules (system base compile))
(define f (compile '(lambda () %s) #:env (make-fresh-user-module) #:optimization-level 2))
(f)
(let ((t (get-internal-real-time)))
  (f)
  (display (/ (exact->inexact (- (get-internal-real-time) t)) internal-time-units-per-second)))
"""


def _bare_lua(source: str) -> float:
    runtime = lua54.LuaRuntime(register_eval=False, register_builtins=False)
    function = runtime.compile(source)
    function()
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _bare_scheme(source: str) -> float:
    argv = ["guile", "--no-auto-compile", "-c", BARE_GUILE % source]
    return float(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout)


WORKLOADS: tuple[tuple[str, Any, str, Callable[[str], float], int, str], ...] = (
    ("compute_lua", lp.LANGUAGE_LUA, LUA_LOOP, _bare_lua, LOOP_TOTAL, "a loop of 10 M iterations"),
    ("compute_scheme", lp.LANGUAGE_SCHEME, SCHEME_LOOP, _bare_scheme, LOOP_TOTAL, "a loop of 10 M iterations"),
    (
        "compute_lua_tables",
        lp.LANGUAGE_LUA,
        LUA_TABLES,
        _bare_lua,
        TOTAL,
        "20,000 tables created, sorted and summed, 25 times",
    ),
    (
        "compute_scheme_lists",
        lp.LANGUAGE_SCHEME,
        SCHEME_LISTS,
        _bare_scheme,
        TOTAL,
        "a list of 20,000 pairs created, sorted and summed, 25 times",
    ),
)


async def measure(loki: Any, rounds: int) -> list[Metric]:
    """Run all four workloads, alternating the engines; raise ValueError on a wrong result."""
    stub: Any = loki_pb2_grpc.LokiServiceStub(loki)
    found = []
    for key, language, source, bare, expected, workload in WORKLOADS:
        request = lp.ExecuteRequest(
            source=source, language=language, limits=lp.ExecutionLimits(memory_bytes=MEMORY_BYTES)
        )

        async def ours(request: lp.ExecuteRequest = request, key: str = key, expected: int = expected) -> float:
            answer = await stub.Execute(request, timeout=60)
            if answer.result.value.int != expected:
                raise ValueError(f"{key} returned {answer.result.value}, not {expected}")
            return float(answer.result.duration.ToMicroseconds()) / 1000

        async def theirs(bare: Callable[[str], float] = bare, source: str = source) -> float:
            return await asyncio.to_thread(bare, source) * 1000

        await ours()
        figures = await alternate(rounds, ours, theirs)
        found.append(
            compared(
                key,
                *figures,
                peer_name="bare engine",
                unit="ms",
                better="lower",
                target=1.3,
                n=ITERATIONS if "lists" not in key and "tables" not in key else ITEMS * ROUNDS_OF_ITEMS,
                note=f"{workload}; ours includes loading the script; saturated: the worker's core",
            )
        )
    return found
