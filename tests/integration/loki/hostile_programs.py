# ruff: noqa: E501 - programs in tables, one a line
"""Hostile programs: packages that must be refused, and deployed programs that attack at runtime.

Owns the tables, and writes docs/reference/hostile.md with those of `hostile.py`: `python -m tests.integration.loki.hostile_programs`.
`test_program_hostile.py` runs them. `answer` is the reason of the failure, or `fine` if the attack has no effect and
the program continues; two reasons if it depends on the machine which limit is reached first. `worker` is the fate of
the process. Rows of BOTH apply to either language.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc

from services.loki.model import Language
from tests.integration.loki.hostile import EITHER, KEPT, LUA, PAGE, REPLACED, SCHEME, TEN_MB, code, page, row
from yggdrasil.common.v1 import value_pb2
from yggdrasil.loki.v1 import program_pb2 as pb

INVALID, FAILED, TAKEN = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ALREADY_EXISTS,
)
CODES = {
    "INVALID_PACKAGE": INVALID,
    "INVALID_SCRIPT": INVALID,
    "INVALID_ID": INVALID,
    "INVALID_REQUEST": INVALID,
    "SYNTAX": INVALID,
    "VERSION_TAKEN": TAKEN,
    "TIMEOUT": grpc.StatusCode.DEADLINE_EXCEEDED,
    "MEMORY": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "ENGINE_BUSY": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "": grpc.StatusCode.RESOURCE_EXHAUSTED,  # gRPC's own message limit applies first
}
"""The gRPC status of each reason to refuse a package."""
FINE = {LUA: "x = 1", SCHEME: "(define x 1)"}


@dataclass(frozen=True)
class Package:
    """A package that is refused when it is loaded: its changes to a valid manifest, and its source if that is hostile."""

    name: str
    answer: str
    manifest: dict[str, Any] = field(default_factory=dict)
    source: str | None = None
    languages: tuple[Language, ...] = (LUA, SCHEME)
    shown: str = ""


@dataclass(frozen=True)
class Living:
    """A program that is loaded and deployed, and its expected result."""

    name: str
    language: Language
    source: str
    answer: str
    worker: str = KEPT


def _parameters(*names: str) -> list[pb.ProgramParameter]:
    return [pb.ProgramParameter(name=name) for name in names]


def _depends(*pairs: tuple[str, str]) -> list[pb.ProgramDependency]:
    return [pb.ProgramDependency(id=name, minimum_version=version) for name, version in pairs]


def _nested(depth: int) -> value_pb2.Value:
    value = value_pb2.Value(int=1)
    for _ in range(depth):
        value = value_pb2.Value(list=value_pb2.ValueList(values=[value]))
    return value


PACKAGES = [
    # Content that does not match its declaration.
    Package("a checksum of another source", "INVALID_PACKAGE", {"checksum": "0" * 64}),
    Package("a checksum that is a path", "INVALID_PACKAGE", {"checksum": "../../etc/passwd"}),
    Package("a checksum of 1 MB", "INVALID_PACKAGE", {"checksum": "0" * 1_000_000}, shown='checksum "000…"'),
    Package("a language that there is not", "INVALID_SCRIPT", {"language": 99}),
    Package("no language", "INVALID_SCRIPT", {"language": 0}),
    Package("Scheme that is said to be Lua", "SYNTAX", source="(define x 1)", languages=(LUA,)),
    Package("Lua that is said to be Scheme", "SYNTAX", source="print((1)))", languages=(SCHEME,)),
    # Names.
    Package("an id that is a path", "INVALID_ID", {"id": "../registry"}),
    Package("an id that is a subject", "INVALID_ID", {"id": "a.>"}),
    Package("an id with a letter of another alphabet", "INVALID_ID", {"id": "blіnk"}),
    Package("an id of 33 letters", "INVALID_ID", {"id": "a" * 33}),
    Package("no id", "INVALID_ID", {"id": ""}),
    Package("a name that reads from right to left", "INVALID_PACKAGE", {"name": "thermo\u202emoc"}),
    Package("an author with an escape sequence", "INVALID_PACKAGE", {"author": "\x1b[2Jroot"}),
    Package("a description of 1 MB", "INVALID_PACKAGE", {"description": "x" * 1_000_000}, shown='description "xxx…"'),
    # Versions.
    Package("no version", "INVALID_PACKAGE", {"version": ""}),
    Package("a version that is a path", "INVALID_PACKAGE", {"version": "1.0.0/../2.0.0"}),
    Package("a version in other digits", "INVALID_PACKAGE", {"version": "١.٠.٠"}),
    Package("a version of a thousand digits", "INVALID_PACKAGE", {"version": "9" * 1000 + ".0.0"}, shown='version "999….0.0"'),
    # Limits.
    Package("memory without end", "INVALID_PACKAGE", {"limits": {"memory_bytes": 2**63}}),
    Package("a turn without end", "INVALID_PACKAGE", {"limits": {"run_timeout_s": 86_400.0}}),
    Package("a turn of less than no time", "INVALID_PACKAGE", {"limits": {"run_timeout_s": -1.0}}),
    Package("four billion timers", "INVALID_PACKAGE", {"limits": {"timers": 2**32 - 1}}),
    Package("a store without end", "INVALID_PACKAGE", {"limits": {"store_bytes": 2**40}}),
    Package("before everybody else", "INVALID_PACKAGE", {"priority": 2**31 - 1}),
    # Parameters, requirements, dependencies.
    Package("33 parameters", "INVALID_PACKAGE", {"parameters": _parameters(*(f"p{n}" for n in range(33)))}, shown="parameters p0 … p32"),
    Package("two parameters of one name", "INVALID_PACKAGE", {"parameters": _parameters("p", "p")}),
    Package("a parameter that is a metamethod", "INVALID_ID", {"parameters": _parameters("__index")}),
    Package(
        "a default nested 40 deep",
        "INVALID_REQUEST",
        {"parameters": [pb.ProgramParameter(name="p", default_value=_nested(40))]},
        shown="default [[[…]]]",
    ),
    Package("a malformed requirement", "INVALID_REQUEST", {"requires": ["sensor.temperature@{"]}),
    Package("a requirement of 100 KB", "INVALID_REQUEST", {"requires": ["a" * 100_000]}, shown='requires "aaa…"'),
    Package("a hundred requirements", "INVALID_REQUEST", {"requires": ["actuator.led@1+"] * 100}, shown="requires 100 times"),
    Package("it depends on itself", "INVALID_PACKAGE", {"dependencies": _depends(("culprit", ""))}),
    Package("it depends on an unknown package", "INVALID_PACKAGE", {"dependencies": _depends(("no_such_thing", ""))}),
    Package("it depends on a path", "INVALID_ID", {"dependencies": _depends(("../units", ""))}),
    Package("it depends on no version", "INVALID_PACKAGE", {"dependencies": _depends(("units", "newest"))}),
    Package("17 dependencies", "INVALID_PACKAGE", {"dependencies": _depends(*((f"d{n}", "") for n in range(17)))}, shown="depends d0 … d16"),
    # Sources.
    Package("no source", "INVALID_PACKAGE", source=""),
    Package("a source of blanks", "INVALID_PACKAGE", source=" \n\t\u2003"),
    Package("a source with a NUL", "INVALID_PACKAGE", source="x = 1 \0"),
    Package("a source of 257 KiB", "INVALID_PACKAGE", source=" " * (257 * 1024 - 1) + "x", shown="` … x`"),
    Package("a source of 10 MB", "", source="x" * TEN_MB),
    Package("bytecode", "SYNTAX", source="\x1bLua", languages=(LUA,)),
    Package("a name by Unicode", "SYNTAX", source="оs = os", languages=(LUA,)),
    Package("nested parentheses", "SYNTAX", source="x = " + "(" * 20_000, languages=(LUA,)),
    Package("nested tables", "SYNTAX", source="x = " + "{" * 20_000, languages=(LUA,)),
    Package("too many locals", "SYNTAX", source="\n".join(f"local x{n}" for n in range(300)), languages=(LUA,)),
    Package("a goto into a block", "SYNTAX", source="goto inside do ::inside:: end", languages=(LUA,)),
    Package("evaluation while reading", "SYNTAX", source='#.(system "id")', languages=(SCHEME,)),
    Package("another library", "SYNTAX", source="(import (ice-9 popen))", languages=(SCHEME,)),
    Package("a builtin changed", "SYNTAX", source="(set! display 1)", languages=(SCHEME,)),
    Package("nested parentheses", "SYNTAX", source="(" * 20_000, languages=(SCHEME,)),
    Package("a datum of itself", "SYNTAX", source="'#0=(1 . #0#)", languages=(SCHEME,)),
    Package("a loop while compiling", "TIMEOUT", source="(define-syntax m (lambda (x) (let loop () (loop)))) (m)", languages=(SCHEME,)),
    Package(
        "operations while compiling",
        "INVALID_REQUEST",
        source="(define-syntax m (lambda (x) (store 'k 1) x)) (m)",
        languages=(SCHEME,),
    ),
    Package(
        "a macro without end",
        "TIMEOUT|MEMORY|ENGINE_BUSY",
        source="(define-syntax m (syntax-rules () ((_ x ...) (m x ... y)))) (m)",
        languages=(SCHEME,),
    ),
]  # fmt: skip


def _lua(name: str, source: str, answer: str, worker: str = KEPT) -> Living:
    return Living(name, LUA, source, answer, worker)


def _scheme(name: str, source: str, answer: str, worker: str = KEPT) -> Living:
    return Living(name, SCHEME, source, answer, worker)


LIVING = [
    # Time.
    _lua("a first turn without end", "while true do end", "TIMEOUT"),
    _lua("a timer without end", "every('x', 0.05, function() while true do end end)", "TIMEOUT"),
    _lua("it swallows the stop", "every('x', 0.05, function() while true do pcall(function() while true do end end) end end)", "TIMEOUT", REPLACED),
    _lua("a loop in a coroutine", "after('x', 0.05, function() coroutine.wrap(function() while true do end end)() end)", "TIMEOUT"),
    _lua("a hostile pattern", "after('x', 0.05, function() string.find(('a'):rep(400), ('a-'):rep(30) .. 'b') end)", "TIMEOUT", REPLACED),
    _lua("a loop while it is closed", "after('x', 0.05, function() local x <close> = setmetatable({}, {__close = function() while true do end end}) end)", "TIMEOUT"),
    _lua("a loop in __tostring of the log", "after('x', 0.05, function() log(setmetatable({}, {__tostring = function() while true do end end})) end)", "TIMEOUT"),
    _lua("a loop in an own event", "on('a', function() while true do end end) emit('a')", "TIMEOUT"),
    _lua("it waits in sort", "table.sort({3, 2, 1}, function(a, b) sleep(0.1) return a < b end)", "fine"),
    _lua("it waits in __tostring", "tostring(setmetatable({}, {__tostring = function() sleep(1) return '' end}))", "CANNOT_WAIT_HERE"),
    _lua("it waits while a coroutine is closed", "local c = coroutine.create(function() local x <close> = setmetatable({}, {__close = function() sleep(1) end}) coroutine.yield() end) coroutine.resume(c) error(select(2, coroutine.close(c)), 0)", "CANNOT_WAIT_HERE"),
    _lua("it asks without end", "sleep(0.1) while true do ygg.devices() end", "TIMEOUT"),
    _lua("it sleeps for NaN", "sleep(0/0)", "INVALID_REQUEST"),
    _lua("it sleeps for ever", "after('x', 0.05, function() sleep(1e300) end) sleep(1e300)", "fine"),
    # Timers, handlers, events.
    _lua("a timer bomb", "for i = 1, 1000 do after('t' .. i, 100, print) end", "TOO_MANY_TIMERS"),
    _lua("timers that arm timers", "n = 0 local function grow() for i = 1, 4 do n = n + 1 after('t' .. n, 0.05, grow) end end grow()", "TOO_MANY_TIMERS"),
    _lua("a timer of NaN", "every('t', 0/0, print)", "INVALID_REQUEST"),
    _lua("a timer of no time", "every('t', 0, print)", "INVALID_REQUEST"),
    _lua("a timer with a path", "after('../t', 1, print)", "INVALID_ID"),
    _lua("a schedule that never comes", "cron('c', '0 0 31 2 *', print)", "INVALID_REQUEST"),
    _lua("a schedule of 100 KB", "cron('c', ('*,'):rep(50000), print)", "INVALID_REQUEST"),
    _lua("a handler bomb", "for i = 1, 1000 do on('e' .. i, print) end", "TOO_MANY_HANDLERS"),
    _lua("a handler that is a callable table", "on('e', setmetatable({}, {__call = function() while true do end end}))", "INVALID_REQUEST"),
    _lua("it listens to all subjects", "subscribe('>', print)", "INVALID_ID"),
    _lua("it listens beside the mesh", "ygg.device('../x'):on('led0.failed', print)", "INVALID_ID"),
    _lua("it writes to all subjects", "publish('x.>', 1)", "INVALID_ID"),
    _lua("it publishes 1 MB", "publish('x', ('x'):rep(1000000))", "INVALID_REQUEST"),
    _lua("it emits to itself", "on('a', function() for i = 1, 100 do emit('a', i) end end) emit('a')", "QUEUE_FULL"),
    _lua("a thousand turns that wait", "on('a', function() sleep(60) end) for i = 1, 1000 do emit('a') end", "QUEUE_FULL"),
    # Memory.
    _lua("memory", "t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end", "MEMORY"),
    _lua("a huge string", "after('x', 0.05, function() return ('x'):rep(1e9) end)", "MEMORY", EITHER),
    _lua("coroutines without end", "t = {} while true do t[#t + 1] = coroutine.create(print) coroutine.resume(t[#t]) end", "MEMORY"),
    _lua("deep recursion", "function f() return 1 + f() end f()", "MEMORY"),
    _lua("memory a turn at a time", "t = {} every('x', 0.05, function() for i = 1, 1000 do t[#t + 1] = ('x'):rep(1000) .. #t end end)", "MEMORY"),
    # The store.
    _lua("a flood of keys", "for i = 1, 1e6 do store('k' .. i, ('x'):rep(4000)) end", "STORE_FULL"),
    _lua("one huge value", "store('k', ('x'):rep(1000000))", "STORE_FULL"),
    _lua("a value of itself", "t = {} t.t = t store('k', t)", "INVALID_REQUEST"),
    _lua("a key of 1 MB", "store(('k'):rep(1000000), 1)", "INVALID_REQUEST|MEMORY"),
    _lua("a function kept", "store('k', print)", "INVALID_REQUEST"),
    _lua("another program's store", "assert(store.load('../neighbour_lua/mark') == nil) store('neighbour_lua._mesh', 1) assert(#store.keys() == 1)", "fine"),
    # Escapes, and leftovers for the next turn.
    _lua("a file opened", "after('x', 0.05, function() io.open('/etc/passwd') end)", "SCRIPT_ERROR"),
    _lua("a library required", "after('x', 0.05, function() require('os') end)", "NOT_DECLARED"),
    _lua("a forged operation", "after('x', 0.05, function() coroutine.yield({}, '[\"devices\"]') end)", "SCRIPT_ERROR"),
    _lua("a coroutine of another turn", "co = coroutine.create(function() sleep(60) end) on('a', function() coroutine.resume(co) end) emit('a') sleep(0.2) assert(coroutine.resume(co))", "SCRIPT_ERROR"),
    _lua("string methods of all", "getmetatable('').__index = nil every('x', 0.05, function() n = (n or 0) + 1 end)", "fine"),
    _lua("a finalizer", "setmetatable({}, {__gc = function() while true do end end})", "SCRIPT_ERROR"),
    _lua("builtins replaced", "tostring, pairs, pcall, error, json, ygg = nil every('x', 0.05, function() n = (n or 0) + 1 end)", "fine"),
    _lua("an error that is a table of itself", "after('x', 0.05, function() local t = setmetatable({}, {__index = error, __tostring = error}) error(t) end)", "SCRIPT_ERROR"),
    _lua("20,000 globals", "for i = 1, 20000 do _G['g' .. i] = i end", "fine"),
    # Time.
    _scheme("a first turn without end", "(let loop () (loop))", "TIMEOUT"),
    _scheme("a timer without end", "(every 'x 0.05 (lambda (_) (let loop () (loop))))", "TIMEOUT"),
    _scheme("it swallows the stop", "(every 'x 0.05 (lambda (_) (let loop () (guard (e (#t 1)) (let in () (in))) (loop))))", "TIMEOUT"),
    _scheme("a loop on the way out", "(after 'x 0.05 (lambda (_) (guard (e (#t 1)) (dynamic-wind (lambda () #t) (lambda () (raise 'x)) (lambda () (let loop () (loop)))))))", "TIMEOUT"),
    _scheme("a loop in a handler of errors", "(after 'x 0.05 (lambda (_) (with-exception-handler (lambda (e) (let loop () (loop))) (lambda () (raise 'x)))))", "TIMEOUT"),
    _scheme("a loop in an own event", "(on 'a (lambda (_) (let loop () (loop)))) (emit 'a 1)", "TIMEOUT"),
    _scheme("it waits in sort", "(sort '(3 2 1) (lambda (a b) (sleep 0.1) (< a b)))", "fine"),
    _scheme("it waits in a test of guard", "(guard (e ((sleep 1) 1)) (car 1))", "CANNOT_WAIT_HERE"),
    _scheme("it asks without end", "(sleep 0.1) (let loop () (devices) (loop))", "TIMEOUT"),
    _scheme("it sleeps for NaN", "(sleep (/ 0. 0.))", "INVALID_REQUEST"),
    _scheme("it sleeps for ever", "(after 'x 0.05 (lambda (_) (sleep 1e300))) (sleep 1e300)", "fine"),
    _scheme("a continuation taken round and round", "(define k #f) (after 'x 0.05 (lambda (_) (call/cc (lambda (c) (set! k c))) (k 1)))", "TIMEOUT"),
    # Timers, handlers, events.
    _scheme("a timer bomb", '(do ((i 0 (+ i 1))) ((= i 1000)) (after (string-append "t" (number->string i)) 100 display))', "TOO_MANY_TIMERS"),
    _scheme("a timer of NaN", "(every 't (/ 0. 0.) display)", "INVALID_REQUEST"),
    _scheme("a timer of no time", "(every 't 0 display)", "INVALID_REQUEST"),
    _scheme("a timer of a ratio of bignums", "(every 't (/ (expt 7 1000) (expt 3 1000)) display)", "INVALID_REQUEST"),
    _scheme("a timer with a path", '(after "../t" 1 display)', "INVALID_ID"),
    _scheme("a schedule that never comes", "(cron 'c \"0 0 31 2 *\" display)", "INVALID_REQUEST"),
    _scheme("a schedule of 100 KB", "(cron 'c (make-string 100000 #\\*) display)", "INVALID_REQUEST"),
    _scheme("a handler bomb", '(do ((i 0 (+ i 1))) ((= i 1000)) (on (string-append "e" (number->string i)) display))', "TOO_MANY_HANDLERS"),
    _scheme("a handler that is not a procedure", "(on 'e '(lambda (_) 1))", "INVALID_REQUEST"),
    _scheme("it listens to all subjects", '(subscribe ">" display)', "INVALID_ID"),
    _scheme("it listens beside the mesh", '(with-device "../x" (on-event "led0.failed" display))', "INVALID_ID"),
    _scheme("it writes to all subjects", '(publish "x.>" 1)', "INVALID_ID"),
    _scheme("it publishes 1 MB", '(publish "x" (make-string 1000000 #\\x))', "INVALID_REQUEST"),
    _scheme("it emits to itself", "(on 'a (lambda (_) (do ((i 0 (+ i 1))) ((= i 100)) (emit 'a i)))) (emit 'a 1)", "QUEUE_FULL"),
    _scheme("a thousand turns that wait", "(on 'a (lambda (_) (sleep 60))) (do ((i 0 (+ i 1))) ((= i 1000)) (emit 'a 1))", "QUEUE_FULL"),
    # Memory.
    _scheme("memory", "(let loop ((l '())) (loop (cons (make-string 1000 #\\x) l)))", "MEMORY|TIMEOUT"),
    _scheme("a huge vector", "(make-vector 1000000000 0)", "MEMORY"),
    _scheme("a string of any size", "(after 'x 0.05 (lambda (_) (make-string (expt 10 10) #\\a)))", "MEMORY"),
    _scheme("deep recursion", "(define (f n) (+ 1 (f n))) (f 1)", "MEMORY"),
    _scheme("a tower of bignums", "(after 'x 0.05 (lambda (_) (let loop ((n 3)) (loop (* n n)))))", "MEMORY|TIMEOUT|CRASH", EITHER),
    _scheme("a power of any size", "(after 'x 0.05 (lambda (_) (even? (expt 7 (expt 10 12)))))", "MEMORY"),
    # The store.
    _scheme("a flood of keys", '(do ((i 0 (+ i 1))) (#f) (store (string-append "k" (number->string i)) (make-string 4000 #\\x)))', "STORE_FULL"),
    _scheme("one huge value", "(store 'k (make-string 1000000 #\\x))", "STORE_FULL"),
    _scheme("a value of itself", "(define l (list 1 2)) (set-cdr! (cdr l) l) (store 'k l)", "INVALID_REQUEST|TIMEOUT|MEMORY", EITHER),
    _scheme("a key of 1 MB", "(store (make-string 1000000 #\\k) 1)", "INVALID_REQUEST"),
    _scheme("a procedure kept", "(store 'k car)", "INVALID_REQUEST"),
    _scheme("another program's store", '(unless (eq? #f (load "../neighbour_scheme/mark")) (raise 1)) (store "neighbour_scheme._mesh" 1) (unless (= 1 (length (store-keys))) (raise 2))', "fine"),
    # Escapes, and leftovers for the next turn.
    _scheme("a file opened", "(after 'x 0.05 (lambda (_) (open-input-file \"/etc/passwd\")))", "SCRIPT_ERROR"),
    _scheme("another module", "(after 'x 0.05 (lambda (_) ((@ (guile) system) \"id\")))", "SCRIPT_ERROR"),
    _scheme("a prompt of the worker's", "(after 'x 0.05 (lambda (_) (abort-to-prompt 'turn)))", "SCRIPT_ERROR"),
    _scheme("a continuation of another turn", "(define k #f) (on 'a (lambda (v) (if k (k 1) (call/cc (lambda (c) (set! k c)))))) (emit 'a 1) (emit 'a 2)", "SCRIPT_ERROR|fine"),
    _scheme("redefined builtins", "(define (car x) 'mine) (define + -) (every 'x 0.05 (lambda (_) (car 1)))", "fine"),
    _scheme("cyclic data raised", "(after 'x 0.05 (lambda (_) (define l (list 1)) (set-cdr! l l) (raise l)))", "SCRIPT_ERROR"),
]  # fmt: skip


def packages(language: Language) -> list[Package]:
    """Those of a language."""
    return [package for package in PACKAGES if language in package.languages]


def living(language: Language) -> list[Living]:
    """Those of a language."""
    return [program for program in LIVING if program.language is language]


_HEAD = """# Hostile programs

A *package* is refused when it is loaded: nothing of it is executed or stored. A *deployed* program runs with turns of 2 s and 4 MiB, in
the worker of a neighbour with a timer: it fails within 8 s, and the neighbour continues, with its globals if the worker is kept. If the
worker is replaced, the neighbour restarts once, and the hostile program is alone from then on; three errors in a row suspend it for a
minute.
"""


def _package_row(package: Package) -> str:
    manifest = package.shown or ", ".join(f"{name} {_plain(value)}" for name, value in package.manifest.items())
    shown = manifest if package.source is None or package.shown else f"`{code(package.source)}`"
    reasons = " or ".join(reason or "RESOURCE_EXHAUSTED, by gRPC" for reason in package.answer.split("|"))
    return f"| {package.name} | {code(shown) if package.source is None else shown} | {reasons} |"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each:g}" for name, each in value.items())
    if isinstance(value, list):
        return " ".join(
            each
            if isinstance(each, str)
            else f"{each.id} {each.minimum_version}".strip()
            if isinstance(each, pb.ProgramDependency)
            else each.name
            for each in value
        )
    return f'"{value}"' if isinstance(value, str) else str(value)


def programs_page() -> str:
    """Return the text of docs/reference/hostile.md: scripts, then programs."""
    parts = [page(), _HEAD]
    for language in Language:
        title = language.value.capitalize()
        refused = [_package_row(package) for package in packages(language)]
        parts.append(
            "\n".join(
                [
                    f"## Packages, {title}, {len(refused)}",
                    "",
                    "| attack | package | answer |",
                    "|---|---|---|",
                    *refused,
                    "",
                ]
            )
        )
        lives = [row(program) for program in living(language)]
        parts.append(
            "\n".join(
                [
                    f"## Deployed, {title}, {len(lives)}",
                    "",
                    "| attack | program | answer | worker |",
                    "|---|---|---|---|",
                    *lives,
                    "",
                ]
            )
        )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(programs_page())
