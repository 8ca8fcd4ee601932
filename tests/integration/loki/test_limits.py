# ruff: noqa: E501 - scripts in tables, one a line
"""The limits of a script. Exceeding one fails that script alone: its neighbour and its successor answer."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from services.domain.errors import Code
from services.loki.adapters import worker
from services.loki.errors import ScriptError
from services.loki.model import MIB, Language, Limits
from tests.fixtures.wait import eventually
from tests.integration.loki.conftest import Lab

pytestmark = pytest.mark.asyncio(loop_scope="module")
LUA, SCHEME = Language.LUA, Language.SCHEME
BOTH = pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])
SHORT = Limits(timeout_s=0.3)
SMALL = Limits(timeout_s=20, memory_bytes=4 * MIB)
PATIENT_S = 30.0
"""A grace for scripts that the engine must stop: on a busy machine 0.5 s can pass before it does."""

# Scripts that never end. True: the engine stops them; False: their worker has to be killed.
ENDLESS: list[tuple[str, Language, str, bool]] = [
    ("a loop", LUA, "while true do end", True),
    ("a loop that swallows errors", LUA, "while true do pcall(function() while true do end end) end", True),
    ("a loop in an error handler", LUA, "xpcall(error, function() while true do end end)", True),
    ("a loop in a coroutine", LUA, "coroutine.wrap(function() while true do end end)()", True),
    ("a coroutine that swallows errors", LUA,
     "local f = coroutine.wrap(function() while true do pcall(function() while true do end end) end end) f()", True),
    ("ten thousand coroutines", LUA,
     "while true do for i = 1, 1e4 do coroutine.wrap(function() coroutine.yield() end)() end end", True),
    ("waiting", LUA, "sleep(3600)", True),
    ("waiting in a comparison", LUA, "table.sort({1, 2}, function() sleep(3600) end)", True),
    ("waiting again and again", LUA, "while true do pcall(sleep, 3600) end", True),
    ("a metamethod that loops", LUA, "local t = setmetatable({}, {__index = function() while true do end end}) return t.x", True),
    ("a loop when a loop is closed that was stopped", LUA,
     "for i in function() return 1 end, nil, nil, setmetatable({}, {__close = function() while true do end end}) do while true do end end", True),
    ("the same in a coroutine", LUA,
     "coroutine.wrap(function() for i in function() return 1 end, nil, nil, setmetatable({}, {__close = function() while true do end end}) do while true do end end end)()", True),
    ("a coroutine that was stopped and is closed", LUA,
     "coroutine.wrap(function() local b = coroutine.create(function() for i in function() return 1 end, nil, nil, setmetatable({}, {__close = function() while true do end end}) do while true do end end end) coroutine.resume(b) coroutine.close(b) end)()", True),
    ("a variable that loops when it is closed after the stop", LUA,
     "local x <close> = setmetatable({}, {__close = function() while true do end end}) while true do end", True),
    ("waiting in an error handler", LUA, "xpcall(error, function() sleep(3600) end)", True),
    ("a hostile pattern", LUA, 'return (("a"):rep(5000)):find(("a-"):rep(30) .. "b")', False),
    ("a comparison in C that loops", LUA,
     'local s = ("x"):rep(1e6) while true do pcall(string.rep, s, 1) local _ = s:gsub(".", "%0") end', True),
    ("a loop", SCHEME, "(let loop () (loop))", True),
    ("a loop that swallows errors", SCHEME, "(let outer () (guard (e (#t #t)) (let loop () (loop))) (outer))", True),
    ("a loop in a handler", SCHEME,
     "(with-exception-handler (lambda (e) (let loop () (loop))) (lambda () (raise 'x)))", True),
    ("a loop on the way out", SCHEME, """
     (dynamic-wind (lambda () #t) (lambda () (let loop () (loop))) (lambda () (let loop () (loop))))""", True),
    ("continuations going round", SCHEME, "(define k #f) (call/cc (lambda (c) (set! k c))) (k 1)", True),
    ("waiting", SCHEME, "(sleep 3600)", True),
    ("waiting in a comparison", SCHEME, "(sort (list 1 2) (lambda (a b) (sleep 3600) #t))", True),
    ("waiting again and again", SCHEME, "(let loop () (guard (e (#t #t)) (sleep 3600)) (loop))", True),
    ("a macro that never ends", SCHEME,
     "(define-syntax m (syntax-rules () ((_ x ...) (m x ... y)))) (m)", True),
    ("equal? on endless lists", SCHEME,
     "(define (endless) (let ((p (list 1))) (set-cdr! p p) p)) (equal? (endless) (endless))", True),
    ("a power tower", SCHEME, "(define (up n) (up (* n n))) (up (expt 3 1000000))", False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("language", "source", "stopped"), [e[1:] for e in ENDLESS], ids=[f"{e[1].value}-{e[0]}" for e in ENDLESS]
)
async def test_a_script_that_does_not_end_is_ended_in_time(
    lab: Lab, language: Language, source: str, stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stopped:
        monkeypatch.setattr(worker, "GRACE_S", PATIENT_S)
    await lab.all_up(language)
    before = lab.pids(language)
    error = await lab.failure(language, source, limits=SHORT)
    assert error.reason in ("TIMEOUT", "MEMORY"), error  # a tower may run out of memory first
    if error.reason == "TIMEOUT":
        assert error.code is Code.DEADLINE_EXCEEDED
    assert await lab.value(language, "return 1" if language is LUA else "1") == 1
    if stopped:
        assert lab.pids(language) == before


@BOTH
async def test_line_of_stopped_loop_is_reported(lab: Lab, language: Language) -> None:
    lua = "local function spin()\n  while true do end\nend\n\nspin()"
    scheme = "(define (spin)\n  (let loop ()\n    (loop)))\n\n(spin)"
    error = await lab.failure(language, lua if language is LUA else scheme, limits=SHORT)
    assert error.line in (2, 3)
    assert "in spin" in error.traceback or language is SCHEME  # Scheme may inline the function


MEMORY: list[tuple[str, Language, str]] = [
    ("a table", LUA, "local t = {} for i = 1, 1e9 do t[i] = {} end"),
    ("a string", LUA, 'return #string.rep("x", 1e9)'),
    ("a string in a host call", LUA, 'publish("x", string.rep("x", 1e9))'),
    ("doubling", LUA, 'local s = "x" while true do s = s .. s end'),
    ("coroutines", LUA, "local t = {} while true do t[#t + 1] = coroutine.create(print) end"),
    ("deep recursion", LUA, "local function f(n) return 1 + f(n + 1) end return f(1)"),
    ("a closure chain", LUA, "local f = print while true do local g = f f = function() return g() end end"),
    ("a format", LUA, 'local t = {} while true do t[#t + 1] = string.format("%99d", #t) end'),
    ("concat", LUA, 'local t = {} for i = 1, 1000 do t[i] = ("x"):rep(100000) end return table.concat(t)'),
    ("many values", LUA, "return table.unpack({}, 1, 1e7)"),
    ("a list", SCHEME, "(define kept (make-vector 1 '())) (let loop () (vector-set! kept 0 (cons 1 (vector-ref kept 0))) (loop))"),
    ("a hash table", SCHEME, "(define t (make-hash-table)) (let loop ((i 0)) (hash-set! t i (list i)) (loop (+ i 1)))"),
    ("a vector", SCHEME, "(vector-length (make-vector 1000000000 0))"),
    ("a string", SCHEME, "(string-length (make-string 1000000000 #\\a))"),
    ("a bytevector", SCHEME, "(bytevector-length (make-bytevector 1000000000))"),
    ("doubling", SCHEME, '(let loop ((s "a")) (loop (string-append s s)))'),
    ("deep recursion", SCHEME, "(define (f n) (+ 1 (f (+ n 1)))) (f 1)"),
    ("a power", SCHEME, "(even? (expt 7 (expt 10 12)))"),
    ("a shift", SCHEME, "(even? (ash 1 (expt 10 12)))"),
    ("a circle copied", SCHEME, "(define l (list 1)) (set-cdr! l l) (length (map (lambda (x) x) (append l '())))"),
    ("padding", SCHEME, '(string-length (string-pad "x" 1000000000))'),
    ("deep data", SCHEME, """
     (define (nest n l) (if (= n 0) l (nest (- n 1) (list l))))
     (equal? (nest 150000 1) (nest 150000 1)) (vector-length (make-vector 10000000 0))"""),
]  # fmt: skip


@pytest.mark.parametrize(("language", "source"), [m[1:] for m in MEMORY], ids=[f"{m[1].value}-{m[0]}" for m in MEMORY])
async def test_a_script_that_wants_too_much_memory_is_ended(lab: Lab, language: Language, source: str) -> None:
    error = await lab.failure(language, source, limits=SMALL)
    assert error.reason in ("MEMORY", "SCRIPT_ERROR"), error  # Lua says "too many results" and "stack overflow" itself
    assert error.code in (Code.RESOURCE_EXHAUSTED, Code.FAILED_PRECONDITION)
    if error.reason == "SCRIPT_ERROR":
        assert any(words in error.message for words in ("too many results", "stack overflow", "argument 1 is")), error
    assert await lab.value(language, "return 1" if language is LUA else "1") == 1


async def test_the_memory_cap_of_lua_is_exact(lab: Lab) -> None:
    rep = 'return #("x"):rep({})'  # the text is briefly in memory twice
    assert await lab.value(LUA, rep.format(19 * MIB // 10), limits=SMALL) == 19 * MIB // 10
    error = await lab.failure(LUA, rep.format(21 * MIB // 10), limits=SMALL)
    assert (error.code, error.reason, error.line) == (Code.RESOURCE_EXHAUSTED, "MEMORY", 1)


async def test_lua_may_catch_a_lack_of_memory_and_go_on(lab: Lab) -> None:
    source = 'local ok, why = pcall(string.rep, "x", 1e9) return {ok, why}'
    assert await lab.value(LUA, source, limits=SMALL) == [False, "not enough memory"]


@BOTH
async def test_more_memory_may_be_requested(lab: Lab, language: Language) -> None:
    lua, scheme = 'return #("x"):rep(60 * 1024 * 1024)', "(bytevector-length (make-bytevector (* 60 1024 1024)))"
    much = Limits(timeout_s=20, memory_bytes=128 * MIB)
    assert await lab.value(language, lua if language is LUA else scheme, limits=much) == 60 * MIB


FLOODS: list[tuple[str, Language, str]] = [
    ("many lines", LUA, 'while true do log("x") end'),
    ("empty lines", LUA, 'while true do log("") end'),
    ("one long line", LUA, 'log(("x"):rep(100000))'),
    ("lines in spite of errors", LUA, 'while true do pcall(log, "x") end'),
    ("a large result", LUA, 'return ("x"):rep(100000)'),
    ("a huge result", LUA, 'return ("x"):rep(6000000)'),
    ("a result of many parts", LUA, "local t = {} for i = 1, 100000 do t[i] = i end return t"),
    ("many lines", SCHEME, '(let loop () (log "x") (loop))'),
    ("display without newline", SCHEME, '(let loop ((i 0)) (if (< i 100000) (begin (display "x") (loop (+ i 1)))))'),
    ("one long line", SCHEME, "(log (make-string 100000 #\\x))"),
    ("a large result", SCHEME, "(make-string 100000 #\\x)"),
    ("a huge result", SCHEME, "(make-string 3000000 #\\x)"),
    ("a result of many parts", SCHEME, "(iota 100000)"),
]


@pytest.mark.parametrize(("language", "source"), [f[1:] for f in FLOODS], ids=[f"{f[1].value}-{f[0]}" for f in FLOODS])
async def test_a_flood_of_output_ends_the_script(lab: Lab, language: Language, source: str) -> None:
    error = await lab.failure(language, source)
    assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "OUTPUT")
    assert sum(entry.size_bytes for entry in lab.log) <= 64 * 1024
    assert await lab.value(language, "return 1" if language is LUA else "1") == 1


@BOTH
async def test_output_up_to_the_limit_is_kept(lab: Lab, language: Language) -> None:
    lua, scheme = (
        'for i = 1, 100 do log(("x"):rep(84)) end return 1',
        """
        (for-each (lambda (i) (log (make-string 84 #\\x))) (iota 100)) 1""",
    )
    source = lua if language is LUA else scheme
    assert await lab.value(language, source, limits=Limits(output_bytes=100 * 100 + 100)) == 1
    assert len(lab.log) == 100
    error = await lab.failure(language, source, limits=Limits(output_bytes=100 * 100 - 100))
    assert error.reason == "OUTPUT"


@BOTH
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT], ids=lambda n: n.name)
async def test_a_crash_ends_the_call_at_hand_and_no_other(lab: Lab, language: Language, number: signal.Signals) -> None:
    await lab.all_up(language)
    wait = 'sleep(0.4) return "{}"' if language is LUA else '(sleep 0.4) "{}"'
    runs = [asyncio.create_task(lab.value(language, wait.format(name))) for name in ("one", "two")]
    await eventually(lambda: not any(worker.usable for worker in lab.pools[language].workers()), 5)
    victim = lab.pids(language)[0]
    os.kill(victim, number)
    results = await asyncio.gather(*runs, return_exceptions=True)
    errors = [r for r in results if isinstance(r, ScriptError)]
    assert len(errors) == 1
    assert (errors[0].code, errors[0].reason) == (Code.INTERNAL, "CRASH")
    assert number.name in errors[0].message
    assert [r for r in results if isinstance(r, str)] in (["one"], ["two"])
    await lab.all_up(language)
    assert victim not in lab.pids(language)


async def test_a_crash_in_the_engine_itself_ends_that_call_alone(lab: Lab) -> None:
    source = """
    (define (nest n l) (if (= n 0) l (nest (- n 1) (list l))))
    (equal? (nest 3000000 1) (nest 3000000 1))"""
    limits = Limits(timeout_s=20, memory_bytes=256 * MIB)
    neighbour = asyncio.create_task(lab.value(SCHEME, "(sleep 0.3) 'fine"))
    error = await lab.failure(SCHEME, source, limits=limits)
    assert error.reason in ("MEMORY", "CRASH")
    assert await neighbour == "fine"


@BOTH
async def test_cancelled_call_stops_the_script(lab: Lab, language: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "GRACE_S", PATIENT_S)
    await lab.all_up(language)
    before, seen = lab.pids(language), len(lab.log)
    forever = "log.info('begun') while true do end" if language is LUA else '(log "begun") (let loop () (loop))'
    running = asyncio.create_task(lab.value(language, forever))
    await eventually(lambda: len(lab.log) > seen)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert lab.pids(language) == before
    assert await lab.value(language, "return 1" if language is LUA else "1") == 1


@BOTH
async def test_a_neighbour_is_not_held_up(lab: Lab, language: Language) -> None:
    forever = "while true do end" if language is LUA else "(let loop () (loop))"
    slow = asyncio.create_task(lab.failure(language, forever, limits=Limits(timeout_s=60)))
    for _ in range(20):
        assert await lab.value(language, "return 1" if language is LUA else "1") == 1
    assert not slow.done()
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
