"""Programs that do harm while they live: each has its error in time, and a neighbour in the same worker goes on.

A case in RESTARTS brings the worker down: its neighbour restarts, once, and the program itself is alone from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from tests.fixtures.mesh import Processes
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess, starter
from tests.integration.loki.programs import LUA, RUNNING, SCHEME, Programs, start_loki
from yggdrasil.loki.v1 import program_pb2 as pb

WITHIN_S = 15.0
NEIGHBOUR = {
    LUA: "beats = 0 every('beat', 0.2, function() beats = beats + 1 end)",
    SCHEME: "(define beats 0) (every 'beat 0.2 (lambda (_) (set! beats (+ beats 1))))",
}
LUA_CASES = {
    "endless_start": ("while true do end", "TIMEOUT"),
    "endless_timer": ("every('x', 0.05, function() while true do end end)", "TIMEOUT"),
    "swallows_stop": (
        "every('x', 0.05, function() while true do pcall(function() while true do end end) end end)",
        "TIMEOUT",
    ),
    "in_a_coroutine": (
        "after('x', 0.05, function() coroutine.wrap(function() while true do end end)() end)",
        "TIMEOUT",
    ),
    "pattern": ("after('x', 0.05, function() string.find(('a'):rep(400), ('a-'):rep(30) .. 'b') end)", "TIMEOUT"),
    "timer_bomb": ("for i = 1, 1000 do after('t' .. i, 100, print) end", "TOO_MANY_TIMERS"),
    "handler_bomb": ("for i = 1, 1000 do on('e' .. i, print) end", "TOO_MANY_HANDLERS"),
    "timers_that_arm_timers": (
        "n = 0 local function grow() for i = 1, 4 do n = n + 1 after('t' .. n, 0.05, grow) end end grow()",
        "TOO_MANY_TIMERS",
    ),
    "store_flood": ("for i = 1, 1e6 do store('k' .. i, ('x'):rep(4000)) end", "STORE_FULL"),
    "one_huge_value": ("store('k', ('x'):rep(1000000))", "STORE_FULL"),
    "cyclic_value": ("t = {} t.t = t store('k', t)", "INVALID_REQUEST"),
    "emits_to_itself": (
        "on('a', function() for i = 1, 100 do emit('a', i) end end) emit('a')",
        "QUEUE_FULL",
    ),
    "memory": ("t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end", "MEMORY"),
    "huge_string": ("after('x', 0.05, function() return ('x'):rep(1e9) end)", "MEMORY"),
    "many_coroutines": (
        "t = {} while true do t[#t + 1] = coroutine.create(print) coroutine.resume(t[#t]) end",
        "MEMORY",
    ),
    "deep_recursion": ("function f() return 1 + f() end f()", "MEMORY"),
    "waits_in_sort": ("table.sort({3, 2, 1}, function(a, b) sleep(1) return a < b end)", "CANNOT_WAIT_HERE"),
    "never_answers": ("sleep(0.1) while true do ygg.devices() end", "TIMEOUT"),
}
SCHEME_CASES: dict[str, tuple[str, str | tuple[str, ...]]] = {
    "endless_start": ("(let loop () (loop))", "TIMEOUT"),
    "endless_timer": ("(every 'x 0.05 (lambda (_) (let loop () (loop))))", "TIMEOUT"),
    "swallows_stop": (
        "(every 'x 0.05 (lambda (_) (let loop () (guard (e (#t 1)) (let in () (in))) (loop))))",
        "TIMEOUT",
    ),
    "bignums": ("(after 'x 0.05 (lambda (_) (let loop ((n 3)) (loop (* n n)))))", ("MEMORY", "TIMEOUT", "CRASH")),
    "timer_bomb": (
        '(do ((i 0 (+ i 1))) ((= i 1000)) (after (string-append "t" (number->string i)) 100 display))',
        "TOO_MANY_TIMERS",
    ),
    "handler_bomb": (
        '(do ((i 0 (+ i 1))) ((= i 1000)) (on (string-append "e" (number->string i)) display))',
        "TOO_MANY_HANDLERS",
    ),
    "store_flood": (
        '(do ((i 0 (+ i 1))) (#f) (store (string-append "k" (number->string i)) (make-string 4000 #\\x)))',
        "STORE_FULL",
    ),
    "emits_to_itself": ("(on 'a (lambda (_) (do ((i 0 (+ i 1))) ((= i 100)) (emit 'a i)))) (emit 'a 1)", "QUEUE_FULL"),
    "memory": ("(let loop ((l '())) (loop (cons (make-string 1000 #\\x) l)))", ("MEMORY", "TIMEOUT")),
    "huge_vector": ("(make-vector 1000000000 0)", "MEMORY"),
    "deep_recursion": ("(define (f n) (+ 1 (f n))) (f 1)", "MEMORY"),
    "cyclic_value": (
        "(define l (list 1 2)) (set-cdr! (cdr l) l) (store 'k l)",
        ("INVALID_REQUEST", "TIMEOUT", "MEMORY"),
    ),
    "takes_what_is_not_its": ("(set! display 1)", "SYNTAX"),
    "waits_in_sort": ("(sort '(3 2 1) (lambda (a b) (sleep 1) (< a b)))", "CANNOT_WAIT_HERE"),
    "never_answers": ("(sleep 0.1) (let loop () (devices) (loop))", "TIMEOUT"),
}
RESTARTS = {
    ("lua", "pattern"),
    ("lua", "swallows_stop"),
    ("scheme", "bignums"),
    ("scheme", "cyclic_value"),
    ("lua", "huge_string"),
}
CASES: list[tuple[Any, str, str, str, str | tuple[str, ...]]] = [
    (LUA, "lua", name, source, wanted) for name, (source, wanted) in LUA_CASES.items()
]
CASES += [(SCHEME, "scheme", name, source, wanted) for name, (source, wanted) in SCHEME_CASES.items()]


@pytest.fixture(scope="module")
def loki_process(shared_processes: Processes, pki: Pki, scheme_cache: Path) -> Iterator[ServiceProcess]:
    with starter(pki) as start:
        yield start_loki(start, shared_processes, scheme_cache)


@pytest_asyncio.fixture
async def programs(loki_process: ServiceProcess, pki: Pki) -> AsyncIterator[Programs]:
    caller, channel = Programs.of(loki_process, pki)
    yield caller
    await caller.unload_all()
    await channel.close()


async def error_of(programs: Programs, name: str, wanted: tuple[str, ...]) -> str:
    """The first error of the kind that is wanted, from the history or the record of the instance."""
    told: list[str] = []
    for _ in range(int(WITHIN_S / 0.05)):
        instance = (await programs.instances(name))[0]
        told = [instance.last_error, instance.problem]
        if any(reason in text for text in told for reason in wanted):
            return instance.last_error
        await asyncio.sleep(0.05)
    raise AssertionError(f"no {wanted!r}: {told}")


@pytest.mark.parametrize(
    ("language", "tag", "name", "source", "reason"), CASES, ids=[f"{case[1]}-{case[2]}" for case in CASES]
)
async def test_a_hostile_program_harms_itself_alone(
    programs: Programs, language: Any, tag: str, name: str, source: str, reason: str | tuple[str, ...]
) -> None:
    neighbour, culprit = f"neighbour_{tag}", f"{name}_{tag}"
    await programs.run(neighbour, NEIGHBOUR[language], language)
    before = (await programs.instances(neighbour))[0]
    await programs.eval(neighbour, "mark = 1" if language == LUA else "(define mark 1)")
    load = programs.load(culprit, source, language, limits={"run_timeout_s": 2.0})
    if reason == "SYNTAX":  # it does not get so far as to run
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await load
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await programs.eval(neighbour, "mark") == 1
        return
    await load
    await programs.deploy(culprit)
    await error_of(programs, culprit, (reason,) if isinstance(reason, str) else reason)
    await programs.stub.StopProgram(pb.StopProgramRequest(deployment_id=culprit))
    await programs.state(neighbour, RUNNING)
    beats = await programs.eval(neighbour, "beats")
    await programs.until(
        neighbour, f"beats > {beats!r}" if language == LUA else f"(> beats {beats!r})", True, within_s=3
    )
    after = (await programs.instances(neighbour))[0]
    assert after.restarts - before.restarts <= (1 if (tag, name) in RESTARTS else 0)
    if (tag, name) not in RESTARTS:
        assert after.worker_pid == before.worker_pid
        assert await programs.eval(neighbour, "mark") == 1


async def test_who_brings_a_worker_down_is_alone_from_then_on_and_is_held_in_the_end(programs: Programs) -> None:
    await programs.run("bystander", NEIGHBOUR[LUA])
    await programs.load("killer", LUA_CASES["pattern"][0])
    await programs.deploy("killer")
    found: list[pb.ProgramInstance] = []
    for _ in range(600):
        found = await programs.instances("killer")
        if found[0].state == pb.INSTANCE_STATE_HELD:
            break
        await asyncio.sleep(0.05)
    assert found[0].state == pb.INSTANCE_STATE_HELD
    assert found[0].quarantined
    assert "three errors in a row: held for 60 s" in found[0].problem
    assert (await programs.instances("bystander"))[0].restarts == 1


async def test_a_log_flood_is_cut_and_said_to_be(programs: Programs) -> None:
    await programs.run("bystander", NEIGHBOUR[LUA])
    await programs.load("chatter", "every('x', 0.05, function() for i = 1, 200 do log(('x'):rep(1000)) end end)")
    await programs.deploy("chatter")
    await programs.state("chatter", RUNNING)
    await asyncio.sleep(1.0)
    lines = await programs.lines("chatter")
    assert sum(map(len, lines)) < 80 * 1024
    assert any("lines are left out" in line for line in lines)
    assert await programs.eval("bystander", "beats >= 0") is True


async def test_programs_that_write_to_each_other_in_circles_leave_time_for_others(programs: Programs) -> None:
    await programs.run("bystander", NEIGHBOUR[LUA])
    for name in ("echo_a", "echo_b"):
        source = (
            "n = 0 subscribe('ball', function() n = n + 1 publish('ball', n) publish('ball', n) end) publish('ball', 0)"
        )
        await programs.run(name, source)
    await asyncio.sleep(2.0)
    began = asyncio.get_running_loop().time()
    assert await programs.eval("bystander", "beats > 3") is True
    assert asyncio.get_running_loop().time() - began < 1.0
    seen = await programs.statistics("echo_a")
    assert seen.host_calls < 1500
