# ruff: noqa: E501 - scripts in tables, one a line
"""Hostile scripts with their expected results. `test_hostile.py` runs them, docs/reference/hostile.md shows them.

Owns the table; `hostile_programs.py` writes the page. `answer` is the reason of the failure, or `fine` if the attack has no effect and
the script returns true; two reasons if it depends on the machine which limit is reached first. `worker` is the fate of the process.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

from services.loki.model import Language

LUA, SCHEME = Language.LUA, Language.SCHEME
KEPT, REPLACED, EITHER = "kept", "replaced", "either"


class Hostile(NamedTuple):
    """A hostile script."""

    name: str
    language: Language
    source: str
    answer: str
    worker: str = KEPT


def _lua(name: str, source: str, answer: str, worker: str = KEPT) -> Hostile:
    return Hostile(name, LUA, source, answer, worker)


def _scheme(name: str, source: str, answer: str, worker: str = KEPT) -> Hostile:
    return Hostile(name, SCHEME, source, answer, worker)


TEN_MB = 10 * 1024 * 1024

HOSTILE = [
    # Escapes.
    _lua("a program started", 'os.execute("id")', "SCRIPT_ERROR"),
    _lua("a file opened", 'io.open("/etc/passwd")', "SCRIPT_ERROR"),
    _lua("a file loaded", 'dofile("/etc/passwd")', "SCRIPT_ERROR"),
    _lua("a module required", 'require("os")', "NOT_DECLARED"),
    _lua("the environment read", 'return os.getenv("PATH")', "SCRIPT_ERROR"),
    _lua("the process ended", "os.exit(0)", "SCRIPT_ERROR"),
    _lua("the debug library", "debug.getregistry()", "SCRIPT_ERROR"),
    _lua(
        "bytecode",
        'local f, why = load("\\27Lua\\x54\\0\\x19\\x93\\r\\n\\x1a\\n", "x", "b") error(why, 0)',
        "SCRIPT_ERROR",
    ),
    _lua("bytecode as the script", "\x1bLua", "SYNTAX"),
    _lua("Python behind a function", "return print.__globals__", "SCRIPT_ERROR"),
    _lua("a finalizer", "setmetatable({}, {__gc = function() while true do end end})", "SCRIPT_ERROR"),
    _lua("a forged operation", 'coroutine.yield({}, "[\\"devices\\"]")', "SCRIPT_ERROR"),
    _lua("string methods of all", 'getmetatable("").__index = nil return ("x"):upper()', "SCRIPT_ERROR"),
    _lua("a name made by Unicode", "оs = os return оs.time", "SYNTAX"),
    _lua(
        "text that reads from right to left",
        "return '\u202e' .. (--[[ \u202e ]] true and '' or '') == '\u202e'",
        "fine",
    ),
    _lua("an id with a zero-width space", 'device:read("temp0\u200b.celsius")', "INVALID_ID|NOT_IN_CONTRACT"),
    _lua("a device id with a path", 'ygg.device("../registry"):info()', "INVALID_ID"),
    _lua("a topic of another", 'publish("x.>", 1)', "INVALID_ID"),
    _lua("a topic that climbs", 'publish("..device.porch-1", 1)', "INVALID_ID"),
    # Time.
    _lua("a loop", "while true do end", "TIMEOUT"),
    _lua("a loop that swallows errors", "while true do pcall(function() while true do end end) end", "TIMEOUT"),
    _lua("a loop in an error handler", "xpcall(error, function() while true do end end)", "TIMEOUT"),
    _lua(
        "a loop in a coroutine in a coroutine",
        "coroutine.wrap(function() coroutine.wrap(function() while true do end end)() end)()",
        "TIMEOUT",
    ),
    _lua(
        "a loop when closed",
        "local x <close> = setmetatable({}, {__close = function() while true do end end})",
        "TIMEOUT",
    ),
    _lua("a loop in a comparison", "table.sort({3, 2, 1}, function() while true do end end)", "TIMEOUT"),
    _lua("a loop in __index", "return setmetatable({}, {__index = function() while true do end end}).x", "TIMEOUT"),
    _lua(
        "a loop in __tostring of the log",
        "log(setmetatable({}, {__tostring = function() while true do end end}))",
        "TIMEOUT",
    ),
    _lua("a loop by goto", "::again:: goto again", "TIMEOUT"),
    _lua("a coroutine bomb", "while true do coroutine.wrap(function() coroutine.yield() end)() end", "TIMEOUT|MEMORY"),
    _lua("a hostile pattern", 'return (("a"):rep(5000)):find(("a-"):rep(30) .. "b")', "TIMEOUT", REPLACED),
    _lua(
        "a hostile pattern in gsub",
        'return (("a"):rep(300)):gsub(("a?"):rep(30) .. ("a"):rep(30) .. "b", "")',
        "TIMEOUT|SCRIPT_ERROR",
        EITHER,
    ),
    _lua("sleeping for ever", "sleep(1e300)", "TIMEOUT"),
    _lua("sleeping for NaN", "sleep(0/0)", "INVALID_REQUEST"),
    _lua("a call that hangs again and again", "while true do pcall(sleep, 60) end", "TIMEOUT"),
    _lua(
        "concat of nothing, for ever",
        'table.concat(setmetatable({}, {__len = function() return 1 << 60 end, __index = function() return "" end}))',
        "TIMEOUT|MEMORY|SCRIPT_ERROR",
        EITHER,
    ),
    _lua(
        "move of nothing, for ever",
        "table.move(setmetatable({}, {__index = function() end, __newindex = function() end}), 1, math.maxinteger - 1, 2)",
        "TIMEOUT",
        EITHER,
    ),
    # Memory.
    _lua("a huge string", 'return #string.rep("x", 1e9)', "MEMORY"),
    _lua("a string that doubles", 'local s = "x" while true do s = s .. s end', "MEMORY"),
    _lua("a table without end", "local t = {} while true do t[#t + 1] = {} end", "MEMORY|TIMEOUT"),
    _lua("deep recursion", "local function f() return 1 + f() end return f()", "SCRIPT_ERROR|MEMORY"),
    _lua("deep recursion in C", "local function f(s) return (s:gsub('.', f)) end return f('x')", "SCRIPT_ERROR|MEMORY"),
    _lua(
        "deep recursion of metamethods",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(_, k) return t[k] end return t.x",
        "SCRIPT_ERROR",
    ),
    _lua(
        "coroutines in coroutines",
        "local function f() return coroutine.wrap(f)() end return f()",
        "SCRIPT_ERROR|MEMORY",
    ),
    _lua("nested parentheses", "return " + "(" * 5000 + "1" + ")" * 5000, "SYNTAX"),
    _lua("nested tables", "return " + "{" * 5000 + "}" * 5000, "SYNTAX"),
    _lua("a format of any width", 'return string.format("%1000000000d", 1)', "SCRIPT_ERROR"),
    _lua("a pack of any size", 'return #string.pack("s", ("x"):rep(3000000))', "MEMORY"),
    _lua("a million results", "return table.unpack({}, 1, 1e8)", "SCRIPT_ERROR|MEMORY"),
    _lua("a load without end", "assert(load(function() return 'x=x ' end))", "SCRIPT_ERROR|MEMORY|TIMEOUT"),
    _lua("memory in an error", 'error(("x"):rep(3e6))', "SCRIPT_ERROR|MEMORY"),
    # Output and data.
    _lua("a flood of lines", 'while true do log("x") end', "OUTPUT|TIMEOUT"),
    _lua("a flood in spite of errors", 'while true do pcall(log, "") end', "OUTPUT|TIMEOUT"),
    _lua("a result without end", 'return ("x"):rep(200000)', "OUTPUT"),
    _lua("cyclic data as the result", "local t = {} t[1] = t return t", "SCRIPT_ERROR"),
    _lua("cyclic data to JSON", "local t = {} t.x = {t} json.encode(t)", "SCRIPT_ERROR"),
    _lua("cyclic data to a device", "local t = {} t.times = t device.led0.blink(t)", "INVALID_REQUEST"),
    _lua("deep JSON", 'json.decode(("["):rep(100000))', "SCRIPT_ERROR"),
    _lua("malformed JSON", 'json.decode("{\\"a\\": 0x}")', "SCRIPT_ERROR"),
    _lua("a function as the result", "return print", "SCRIPT_ERROR"),
    _lua(
        "an error that is a table of itself",
        "local t = setmetatable({}, {__index = error, __tostring = error}) error(t)",
        "SCRIPT_ERROR",
    ),
    _lua("a source of 10 MB", "--" + "x" * TEN_MB, "INVALID_SCRIPT"),
    _lua("a source with a NUL", "return 1\0", "INVALID_SCRIPT"),
    _lua("nothing", " \n\t", "INVALID_SCRIPT"),
    # Escapes.
    _scheme("a program started", '(system "id")', "SCRIPT_ERROR"),
    _scheme("a file opened", '(open-input-file "/etc/passwd")', "SCRIPT_ERROR"),
    _scheme("a file loaded", '(primitive-load "/etc/passwd")', "SCRIPT_ERROR"),
    _scheme("the environment read", '(getenv "PATH")', "SCRIPT_ERROR"),
    _scheme("the process ended", "(exit 0)", "SCRIPT_ERROR"),
    _scheme("another module", "(@ (guile) system)", "SCRIPT_ERROR|SYNTAX"),
    _scheme("another module's inside", "((@@ (ygg wire) send-frame) 68 1 #vu8())", "SCRIPT_ERROR|SYNTAX"),
    _scheme("a library", "(import (ice-9 popen))", "SYNTAX"),
    _scheme("a library renamed", "(import (rename (guile) (system s)))", "SYNTAX"),
    _scheme("foreign functions", "(import (system foreign))", "SYNTAX"),
    _scheme("eval", '(eval \'(system "id") (interaction-environment))', "SCRIPT_ERROR"),
    _scheme("evaluation while reading", '#.(system "id")', "SYNTAX"),
    _scheme(
        "a macro that takes syntax apart",
        '(define-syntax m (lambda (x) (syntax-case x () (_ #\'(system "id"))))) (m)',
        "SYNTAX|SCRIPT_ERROR",
    ),
    _scheme("operations while compiling", "(define-syntax m (lambda (x) (sleep 0) x)) (m)", "INVALID_REQUEST"),
    _scheme("a loop while compiling", "(define-syntax m (lambda (x) (let loop () (loop)))) (m)", "TIMEOUT"),
    _scheme("a builtin changed", "(set! car cdr)", "SYNTAX"),
    _scheme("the host changed", "(set! property-read car)", "SYNTAX"),
    _scheme("a prompt of the worker's", "(abort-to-prompt 'turn)", "SCRIPT_ERROR"),
    _scheme("a record's insides", "(struct-ref (make-parameter 1) 0)", "SCRIPT_ERROR"),
    _scheme("a keyword", "#:key", "SCRIPT_ERROR"),
    _scheme("a datum label", "'#0=(1 . #0#)", "SYNTAX"),
    _scheme("a name made by Unicode", "(саr '(1))", "SCRIPT_ERROR"),
    _scheme("text that reads from right to left", '(string=? "\u202e" ; \u202e\n "\u202e")', "fine"),
    _scheme("a device id with a path", '(with-device "../registry" (device-info))', "INVALID_ID"),
    _scheme("a topic of another", '(publish "x.>" 1)', "INVALID_ID"),
    # Time.
    _scheme("a loop", "(let loop () (loop))", "TIMEOUT"),
    _scheme(
        "a loop that swallows errors", "(let outer () (guard (e (#t #t)) (let loop () (loop))) (outer))", "TIMEOUT"
    ),
    _scheme(
        "a loop in a handler",
        "(with-exception-handler (lambda (e) (let loop () (loop))) (lambda () (raise 'x)))",
        "TIMEOUT",
    ),
    _scheme(
        "a loop on the way out",
        "(dynamic-wind (lambda () #t) (lambda () (let loop () (loop))) (lambda () (let loop () (loop))))",
        "TIMEOUT",
    ),
    _scheme(
        "a loop on the way in",
        "(define k #f) (dynamic-wind (lambda () (if k (let loop () (loop)))) (lambda () (call/cc (lambda (c) (set! k c)))) (lambda () #t)) (k 1)",
        "TIMEOUT",
    ),
    _scheme("a continuation taken round and round", "(define k #f) (call/cc (lambda (c) (set! k c))) (k 1)", "TIMEOUT"),
    _scheme(
        "continuations in continuations",
        "(let loop ((k #f)) (loop (call/cc (lambda (c) c))))",
        "TIMEOUT|MEMORY|SCRIPT_ERROR",
        EITHER,
    ),
    _scheme(
        "a continuation entered within sort",
        "(define k #f) (sort '(2 1) (lambda (a b) (call/cc (lambda (c) (set! k c))) (< a b))) (k #t)",
        "SCRIPT_ERROR|TIMEOUT",
        EITHER,
    ),
    _scheme("sleeping for ever", "(sleep 1e300)", "TIMEOUT"),
    _scheme("sleeping for NaN", "(sleep (/ 0. 0.))", "INVALID_REQUEST"),
    _scheme("a call that hangs again and again", "(let loop () (guard (e (#t #t)) (sleep 60)) (loop))", "TIMEOUT"),
    _scheme(
        "a macro without end",
        "(define-syntax m (syntax-rules () ((_ x ...) (m x ... y)))) (m)",
        "TIMEOUT|MEMORY",
        EITHER,
    ),
    _scheme(
        "a macro that doubles",
        "(define-syntax m (syntax-rules () ((_ x ...) (m x ... x ...)))) (m 1)",
        "TIMEOUT|MEMORY|SYNTAX|CRASH",
        EITHER,
    ),
    _scheme(
        "endless lists compared",
        "(define (endless) (let ((p (list 1))) (set-cdr! p p) p)) (equal? (endless) (endless))",
        "TIMEOUT|MEMORY",
        EITHER,
    ),
    _scheme("a tower of bignums", "(define (up n) (up (* n n))) (up (expt 3 1000000))", "TIMEOUT|MEMORY", EITHER),
    _scheme("a bignum printed", "(string-length (number->string (expt 7 30000000)))", "TIMEOUT|MEMORY|OUTPUT", EITHER),
    _scheme("a bignum of a text", "(string->number (make-string 3000000 #\\9))", "TIMEOUT|MEMORY", EITHER),
    # Memory.
    _scheme("a vector of any size", "(make-vector (expt 10 12) 0)", "MEMORY"),
    _scheme("a string of any size", "(make-string (expt 10 10) #\\a)", "MEMORY"),
    _scheme("a string that doubles", '(let loop ((s "a")) (loop (string-append s s)))', "MEMORY|TIMEOUT", EITHER),
    _scheme("a list without end", "(let loop ((l '())) (loop (cons 1 l)))", "MEMORY|TIMEOUT"),
    _scheme("deep recursion", "(define (f n) (+ 1 (f (+ n 1)))) (f 1)", "MEMORY"),
    _scheme(
        "deep recursion in C",
        "(define (nest n l) (if (= n 0) l (nest (- n 1) (list l)))) (equal? (nest 150000 1) (nest 150000 1)) (make-vector (expt 10 9) 0)",
        "MEMORY|CRASH|TIMEOUT",
        EITHER,
    ),
    _scheme("a power of any size", "(even? (expt 7 (expt 10 12)))", "MEMORY"),
    _scheme("a power of a ratio", "(expt 7/3 (expt 10 12))", "MEMORY"),
    _scheme("a shift of any size", "(ash 1 (expt 10 15))", "MEMORY"),
    _scheme("an exact number of a text", '(string->number "#e1e999999999")', "SCRIPT_ERROR|MEMORY|fine"),
    _scheme("a number that is written so", "#e1e999999999", "SYNTAX"),
    _scheme("padding of any width", '(string-pad "x" (expt 10 10))', "MEMORY"),
    _scheme("a format of any width", '(format #f "~1000000000a" 1)', "MEMORY|SCRIPT_ERROR|TIMEOUT", EITHER),
    _scheme("nested parentheses", "(" * 5000 + ")" * 5000, "SYNTAX"),
    _scheme("nested quotes", "'" * 5000 + "a", "SYNTAX"),
    _scheme("a nested comment", "#|" * 100000, "SYNTAX|MEMORY"),
    # Output and data.
    _scheme("a flood of lines", '(let loop () (log "x") (loop))', "OUTPUT|TIMEOUT"),
    _scheme("a line without end", '(let loop () (display "x") (loop))', "OUTPUT|MEMORY|TIMEOUT", EITHER),
    _scheme("a result without end", "(make-string 200000 #\\x)", "OUTPUT"),
    _scheme("cyclic data as the result", "(define l (list 1)) (set-cdr! l l) l", "SCRIPT_ERROR"),
    _scheme("cyclic data to JSON", "(define l (list 1 2)) (set-car! l l) (json-encode l)", "SCRIPT_ERROR"),
    _scheme("cyclic data displayed", "(define l (list 1)) (set-cdr! l l) (display l) #t", "fine"),
    _scheme("cyclic data raised", "(define l (list 1)) (set-cdr! l l) (raise l)", "SCRIPT_ERROR"),
    _scheme("deep JSON", "(json-decode (make-string 100000 #\\[))", "SCRIPT_ERROR"),
    _scheme("a procedure as the result", "car", "SCRIPT_ERROR"),
    _scheme("a source of 10 MB", ";" + "x" * TEN_MB, "INVALID_SCRIPT"),
    _scheme("a source with a NUL", "1\0", "INVALID_SCRIPT"),
    _scheme("nothing", " \n\t", "INVALID_SCRIPT"),
]

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "hostile.md"
_HEAD = """# Hostile scripts

A test runs each of these with 0.4 s and 4 MiB. The call returns within 1.9 s, and the next script of the same language works.
`fine`: the attack has no effect, and the script continues. The worker process is kept, or replaced by a new one without an effect on
others; if the engine's C code decides how far the attack gets, either happens.

[Scripting](scripting.md#what-a-script-cannot-do) lists what no worker can do; `tests/integration/loki/test_walls.py` tries it.
"""


class Shown(Protocol):
    """The cells of a row."""

    @property
    def name(self) -> str:
        """The attack."""

    @property
    def source(self) -> str:
        """The source text."""

    @property
    def answer(self) -> str:
        """Reasons, separated by bars."""

    @property
    def worker(self) -> str:
        """Whether the worker is kept or replaced."""


def code(source: str) -> str:
    """Return a text as shown on the page: shortened, and without unprintable characters."""
    shown = source if len(source) <= 200 else source[:40] + "…"
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in shown).replace("|", "\\|")


def row(hostile: Shown) -> str:
    """The row of docs/reference/hostile.md."""
    return (
        f"| {hostile.name} | `{code(hostile.source)}` | {' or '.join(hostile.answer.split('|'))} | {hostile.worker} |"
    )


def page() -> str:
    """The scripts' part of docs/reference/hostile.md."""
    parts = [_HEAD]
    for language in Language:
        rows = [row(hostile) for hostile in HOSTILE if hostile.language is language]
        title = f"## {language.value.capitalize()}, {len(rows)}"
        parts.append("\n".join([title, "", "| attack | script | answer | worker |", "|---|---|---|---|", *rows, ""]))
    return "\n".join(parts)
