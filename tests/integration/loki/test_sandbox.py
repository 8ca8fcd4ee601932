# ruff: noqa: E501 - scripts in tables, one a line
"""Escapes that must fail: files, processes, the environment, bytecode, engine internals, other programs.

Each attack returns the object it reached; `nil`, `'()` or an error means that it failed. Scheme attacks must fail to compile, or
end with an unbound variable.
"""

from __future__ import annotations

import os

import pytest

from services.loki.errors import ScriptError
from services.loki.lint.dialect import Dialect
from services.loki.lint.names import scheme_names
from services.loki.model import Language, Limits
from tests.integration.loki.conftest import Lab

pytestmark = pytest.mark.asyncio(loop_scope="module")
LUA, SCHEME = Language.LUA, Language.SCHEME

LUA_NIL = [
    "io", "debug", "package", "dofile", "loadfile", "python", "os.execute", "os.getenv", "os.exit",
    "os.remove", "os.rename", "os.tmpname", "os.setlocale", "string.dump", "ffi", "jit", "getfenv", "setfenv", "newproxy",
    "loadstring", "module", "ygg.io", "coroutine.debug",
]  # fmt: skip

LUA_REFUSED: list[tuple[str, str]] = [
    ("bytecode by load", r'local f, why = load("\27Lua\84\0") error(why, 0)'),
    ("bytecode by a mode", r'local f, why = load("\27Lua\84\0", "x", "b") error(why, 0)'),
    ("bytecode piecemeal", r'local done local f, why = load(function() if done then return nil end done = true return "\27Lua" end) error(why, 0)'),
    ("a finalizer", "setmetatable({}, {__gc = function() while true do end end})"),
    ("the collector stopped", 'collectgarbage("stop")'),
    ("the collector tuned", 'collectgarbage("generational")'),
    ("a metatable that is shut", "setmetatable(getmetatable(device) or {}, nil) error(getmetatable(device) == false and 'shut' or 'open', 0)"),
    ("a yield out of the program", "coroutine.yield(1)"),
    ("a forged operation", 'coroutine.yield({}, "[\\"time\\"]")'),
    ("json.null changed", "json.null.x = 1"),
]  # fmt: skip

SCHEME_UNBOUND = [
    "system", "system*", "open-file", "open-input-file", "call-with-input-file", "with-output-to-file", "delete-file",
    "rename-file", "opendir", "getenv", "setenv", "environ", "exit", "quit", "primitive-exit", "primitive-fork", "execl",
    "kill", "getpid", "socket", "connect", "fdopen", "pipe", "open-pipe", "dup", "fdes->inport", "current-input-port",
    "current-output-port", "current-error-port", "read", "primitive-load", "eval",
    "primitive-eval", "eval-string", "compile", "macroexpand", "current-module",
    "interaction-environment", "resolve-module", "resolve-interface", "module-ref", "module-define!", "the-environment",
    "use-modules", "define-module", "@", "@@", "dynamic-link", "load-extension", "call-with-prompt", "abort-to-prompt",
    "make-prompt-tag", "catch", "throw", "with-throw-handler", "sigaction", "setitimer", "alarm", "system-async-mark",
    "call-with-blocked-asyncs", "make-thread", "call-with-new-thread", "make-struct/no-tail", "struct-set!",
    "struct-vtable", "record-accessor", "make-variable", "variable-set!", "procedure-source", "procedure-environment",
    "object-address", "make-soft-port", "make-shared-array", "make-guardian", "gc",
    "add-hook!", "after-gc-hook", "fluid-set!", "with-fluids", "setlocale", "usleep", "syntax-case",
    "datum->syntax", "define-macro", "gensym", "current-filename", "include", "include-from-path", "program-arguments",
    "command-line", "emergency-exit", "get-environment-variable", "open-socket-for-uri", "make-parameter*", "bytevector->pointer",
    "pointer->procedure", "unread-char", "force-output", "drain-input", "port-filename", "fileno",
]  # fmt: skip

SCHEME_REFUSED: list[tuple[str, str, str]] = [
    ("a builtin changed", "(set! car cdr)", "SYNTAX"),
    ("a builtin changed by a macro", "(define-syntax m (syntax-rules () ((_ n) (set! n 1)))) (m car)", "SYNTAX"),
    ("a builtin changed from inside a macro", "(define-syntax m (syntax-rules () ((_) (set! car 1)))) (define (f) (m)) (f)", "SYNTAX"),
    ("a builtin of the host changed", "(set! property-read car)", "SYNTAX"),
    ("a builtin changed under let-syntax", "(let-syntax ((s (syntax-rules () ((_ n v) (set! n v))))) (s log 1))", "SYNTAX"),
    ("a generalized set!", "(set! (car (list 1)) 2)", "SYNTAX"),
    ("a macro that makes symbols", "(define-syntax m (lambda (x) '(system \"id\"))) (m)", "SYNTAX"),
    ("the core library", "(import (guile))", "SYNTAX"),
    ("the file library", "(import (scheme file))", "SYNTAX"),
    ("the process library", "(import (scheme process-context))", "SYNTAX"),
    ("a library under another name", "(import (rename (guile) (system s)))", "SYNTAX"),
    ("read-time evaluation", "#.(system \"id\")", "SYNTAX"),
    ("a reader directive", "#!eof (car 1)", "SYNTAX"),
    ("a reader directive later", "1 #!fold-case 2", "SYNTAX"),
    ("a reader extension", "#,(foo)", "SYNTAX"),
    ("a gensym", "#{a}#", "SYNTAX"),
    ("operations from a macro", "(define-syntax m (lambda (x) (sleep 0) x)) (m)", "INVALID_REQUEST"),
]  # fmt: skip


@pytest.mark.parametrize("name", LUA_NIL)
async def test_a_name_that_lua_does_not_have(lab: Lab, name: str) -> None:
    source = f"local there, value = pcall(function() return {name} end) return not there or value == nil"
    assert await lab.value(LUA, source) is True


@pytest.mark.parametrize("source", [s for _, s in LUA_REFUSED], ids=[n for n, _ in LUA_REFUSED])
async def test_an_attack_that_lua_refuses(lab: Lab, source: str) -> None:
    error = await lab.failure(LUA, source)
    assert error.reason == "SCRIPT_ERROR"
    words = ("text", "binary", "__gc", "collectgarbage", "shut", "yield", "changed")
    assert any(word in error.message for word in words), error.message


async def test_nothing_of_python_is_in_the_globals_of_lua(lab: Lab) -> None:
    source = """
    local seen, odd = {}, {}
    local function walk(t, path)
      if seen[t] then return end
      seen[t] = true
      for k, v in pairs(t) do
        local kind = type(v)
        if kind == "userdata" then odd[#odd + 1] = path .. "." .. tostring(k) end
        if kind == "table" then walk(v, path .. "." .. tostring(k)) end
      end
      local mt = getmetatable(t)
      if type(mt) == "table" then walk(mt, path .. ".<meta>") end
    end
    walk(_G, "_G")
    walk(getmetatable("").__index, "string")
    return json.array(odd)"""
    assert await lab.value(LUA, source) == []


async def test_lua_globals_are_exactly_these(lab: Lab) -> None:
    source = "local names = {} for k in pairs(_G) do names[#names + 1] = k end table.sort(names) return names"
    assert await lab.value(LUA, source) == sorted([
        "_G", "_VERSION", "after", "args", "assert", "cancel", "collectgarbage", "coroutine", "cron", "device", "emit",
        "error", "every", "format", "getmetatable", "ipairs", "json", "load", "log", "math", "memory_info", "next", "on", "os",
        "pairs", "pcall", "print", "publish", "rawequal", "rawget", "rawlen", "rawset", "require", "select", "setmetatable", "sleep",
        "store", "string", "subscribe", "table", "time", "tonumber", "tostring", "type", "uptime", "utf8", "warn", "xpcall",
        "ygg",
    ])  # fmt: skip


async def test_late_loaded_modules_ignore_functions_of_script(lab: Lab) -> None:
    source = """
    local called, next, sleep, json, coroutine, store, log, ygg = {}, next, sleep, json, coroutine, store, log, ygg
    local function spied(where, path)
      for name, f in pairs(where) do
        if type(f) == "function" then
          where[name] = function(...) called[path .. name] = true return f(...) end
        end
      end
    end
    local kept = pairs
    for _, library in kept { "string", "table", "math", "utf8" } do spied(_G[library], library .. ".") end
    spied(_G, "")
    called = {}
    json.decode('{"a": [1, null]}') json.encode { b = 1.5 } log.info("x")
    coroutine.wrap(function() sleep(0) end)()
    for _, f in kept { function() store.load("x") end, function() ygg.device("porch-1"):read("x") end, function() sleep("x") end } do
      xpcall(f, print)
    end
    called.xpcall, called.print, called.pairs = nil, nil, nil
    local names = json.array()
    for name in next, called do names[#names + 1] = name end
    return names"""
    assert await lab.value(LUA, source) == []


async def test_api_survives_a_metatable_on_globals(lab: Lab) -> None:
    source = """
    setmetatable(_G, {__index = function(_, name) error("no global " .. name, 2) end})
    return {json.encode({1}), type(coroutine.wrap), type(store.load), type(ygg.on), type(log.info), type(device.read)}"""
    assert await lab.value(LUA, source) == ["[1]", *["function"] * 5]


async def test_api_names_removed_by_a_script_stay_removed(lab: Lab) -> None:
    assert await lab.value(
        LUA, "json.encode = nil log.info = 5 return {json.encode == nil, log.info, #json.array()}"
    ) == [True, 5, 0]


@pytest.mark.parametrize("name", SCHEME_UNBOUND)
async def test_a_name_that_scheme_does_not_have(lab: Lab, name: str) -> None:
    error = await lab.failure(SCHEME, f"(define (f x) x) (f {name})")
    assert error.reason in ("SCRIPT_ERROR", "SYNTAX")
    assert f"{name} is not defined" in error.message or error.reason == "SYNTAX"


@pytest.mark.parametrize("name", ["set-current-output-port", "set-current-module", "read-hash-extend"])
async def test_guile_name_in_contract_form_is_a_contract_name(lab: Lab, name: str) -> None:
    call = f"({name} 1)" if name.startswith("set") else f"({name})"
    assert (await lab.failure(SCHEME, call)).reason == "NOT_IN_CONTRACT"


@pytest.mark.parametrize(("source", "reason"), [s[1:] for s in SCHEME_REFUSED], ids=[s[0] for s in SCHEME_REFUSED])
async def test_an_attack_that_scheme_refuses(lab: Lab, source: str, reason: str) -> None:
    assert (await lab.failure(SCHEME, source)).reason == reason
    assert await lab.value(SCHEME, "(car '(1))") == 1


async def test_read_without_port_does_not_reach_worker_socket(lab: Lab) -> None:
    assert (
        await lab.value(SCHEME, "(map eof-object? (list (read-char) (read-line) (read-string 9) (peek-char)))")
        == [True] * 4
    )
    assert await lab.value(SCHEME, "1") == 1


async def test_a_continuation_cannot_be_entered_in_another_run(lab: Lab) -> None:
    keep = "(define k #f) (define n 0) (call/cc (lambda (c) (set! k c))) (set! n (+ n 1)) (if (< n 3) (k 1) n)"
    assert await lab.value(SCHEME, keep) == 3
    assert await lab.value(SCHEME, keep) == 3


LEAKS: list[tuple[str, Language, str, str]] = [
    ("a global", LUA, "leak = 1", "return leak == nil"),
    ("a changed library", LUA, "string.upper = nil table.insert = nil", 'return ("x"):upper() == "X" and table.insert ~= nil'),
    ("the metatable of strings", LUA, 'getmetatable("").__index = nil', 'return ("x"):len() == 1'),
    ("a changed host table", LUA, "json.encode = nil log.info = nil ygg.devices = nil", "return json.encode ~= nil and log.info ~= nil and ygg.devices ~= nil"),
    ("a seed", LUA, "math.randomseed(42) return math.random(1e9)", "return true"),
    ("a global", SCHEME, "(define leak 1) leak", "(guard (e (#t #t)) (eq? leak 'x))"),
    ("a redefined builtin", SCHEME, "(define (car x) 'mine) (car '(1))", "(eqv? (car '(1)) 1)"),
    ("a changed literal", SCHEME, "(define l '(1 2)) (guard (e (#t 0)) (set-car! l 9)) l", "#t"),
    ("a macro", SCHEME, "(define-syntax leak (syntax-rules () ((_) 1))) (leak)", "(guard (e (#t #t)) (eq? (leak) 'x))"),
    ("a parameter", SCHEME, "(define p (make-parameter 1)) (p 2) (p)", "#t"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("language", "leave", "look"), [s[1:] for s in LEAKS], ids=[f"{s[1].value}-{s[0]}" for s in LEAKS]
)
async def test_a_run_leaves_nothing_behind(lab: Lab, language: Language, leave: str, look: str) -> None:
    for _ in range(4):  # both workers, twice
        await lab.outcome(language, leave)
        assert await lab.value(language, look) is True


async def test_a_literal_is_as_written_however_often_the_script_runs(lab: Lab) -> None:
    source = """
    (define l '(1 2))
    (define before (list-copy l))
    (guard (e (#t #t)) (set-car! l 9) (set-cdr! l '()))
    before"""
    for _ in range(6):
        assert await lab.value(SCHEME, source) == [1, 2]


async def test_a_vector_or_string_literal_too(lab: Lab) -> None:
    source = """
    (define v #(1 2)) (define s "ab")
    (define before (list (vector-ref v 0) (string-ref s 0)))
    (guard (e (#t #t)) (vector-set! v 0 9))
    (guard (e (#t #t)) (string-set! s 0 #\\z))
    before"""
    for _ in range(6):
        assert await lab.value(SCHEME, source) == [1, "a"]


@pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])
async def test_a_worker_has_no_environment_and_only_its_socket(lab: Lab, language: Language) -> None:
    from pathlib import Path

    for pid in lab.pids(language):
        process = Path(f"/proc/{pid}")
        status = (process / "status").read_text()
        assert "NoNewPrivs:\t1" in status
        lines = (process / "limits").read_text().splitlines()
        for limit in ("Max core file size", "Max processes", "Max file size"):
            assert next(line for line in lines if line.startswith(limit)).split()[len(limit.split())] == "0"
        if os.geteuid():  # it is sealed against its own user, too: only root can look further
            with pytest.raises(PermissionError):
                (process / "environ").read_bytes()
            continue
        names = {item.partition(b"=")[0] for item in (process / "environ").read_bytes().split(b"\0") if item}
        assert names <= {b"GC_MAXIMUM_HEAP_SIZE", b"GC_MARKERS", b"LC_ALL"}
        targets = {str(link.readlink()) for link in (process / "fd").iterdir()}
        assert len({t for t in targets if t.startswith("socket:")}) == 1
        assert {t for t in targets if not t.startswith(("socket:", "pipe:"))} <= {"/dev/null"}
        assert (process / "cwd").readlink() == Path("/")


# Procedures that end a turn with such arguments, that wait, or that must not be called here.
LARGE = "ash expt iota list-tabulate make-bytevector make-list make-string make-vector random range sleep string-pad"
LARGE += " string-pad-right twin-update! call/cc call-with-current-continuation"
NUMBERED = sorted(scheme_names(Dialect.R7RS) - frozenset(LARGE.split()))
ODD = """
(define odd (list -1 99999999999999999999 1.5 #f "abc" (list 1 2) (vector 1 2)))
(define (try proc . arguments) (guard (e (#t (error-object-message e))) (apply proc arguments)))
(define (all proc)
  (try proc)
  (for-each (lambda (a) (try proc a) (for-each (lambda (b) (try proc a b)) odd)) odd))
"""


async def is_procedure(lab: Lab, name: str) -> bool:
    """Return False for syntax, which is not an expression."""
    try:
        return await lab.value(SCHEME, f"(procedure? {name})") is True
    except ScriptError:
        return False


@pytest.mark.parametrize("start", range(0, len(NUMBERED), 60))
async def test_odd_arguments_of_any_procedure_are_errors_and_no_crash(lab: Lab, start: int) -> None:
    procedures = [name for name in NUMBERED[start : start + 60] if await is_procedure(lab, name)]
    source = f";; @dialect r7rs\n{ODD} (for-each all (list {' '.join(procedures)})) 'alive"
    assert await lab.value(SCHEME, source, device="", limits=Limits(timeout_s=60)) == "alive"
