# ruff: noqa: E501 - scripts in tables, one a line
"""The features of each language, and the texts of its errors: names, lines, tracebacks."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from services.domain.errors import Code
from services.domain.values import Value
from services.loki.engines.scheme import build
from services.loki.lint.names import DEVICE_METHODS, LUA_GLOBALS, LUA_MEMBERS
from services.loki.model import Language
from tests.integration.loki.conftest import Lab

pytestmark = pytest.mark.asyncio(loop_scope="module")
LUA, SCHEME = Language.LUA, Language.SCHEME

SCHEME_OFFERS: list[tuple[str, str, Value]] = [
    ("exact arithmetic", "(* 1/3 3)", 1),
    ("big integers", "(quotient (expt 2 100) (expt 2 90))", 1024),
    ("named let", "(let loop ((i 0) (s 0)) (if (= i 5) s (loop (+ i 1) (+ s i))))", 10),
    ("do", "(do ((i 0 (+ i 1)) (s '() (cons i s))) ((= i 3) s))", [2, 1, 0]),
    ("tail calls", "(define (even n) (if (= n 0) #t (odd (- n 1)))) (define (odd n) (if (= n 0) #f (even (- n 1)))) (even 300000)", True),
    ("case", "(case 3 ((1 2) 'low) ((3 4) 'mid) (else 'high))", "mid"),
    ("case with =>", "(case 9 ((1) 'one) (else => (lambda (x) (* x 2))))", 18),
    ("when and unless", "(list (when #t 1) (unless #f 2))", [1, 2]),
    ("let-values", "(let-values (((q r) (floor/ 7 2)) ((x) (values 1))) (list q r x))", [3, 1, 1]),
    ("let*-values", "(let*-values (((a b) (values 1 2)) ((c) (values (+ a b)))) c)", 3),
    ("define-values", "(define-values (a b) (values 1 2)) (+ a b)", 3),
    ("receive", "(receive (a . rest) (values 1 2 3) rest)", [2, 3]),
    ("case-lambda", "(define f (case-lambda ((a) 1) ((a b) 2) ((a . r) 3))) (list (f 1) (f 1 2) (f 1 2 3))", [1, 2, 3]),
    ("optional arguments", "(define (f a . b) (if (null? b) a (car b))) (list (f 1) (f 1 2))", [1, 2]),
    ("records", "(define-record-type point (make-point x y) point? (x px set-px!) (y py)) (let ((p (make-point 1 2))) (set-px! p 5) (list (px p) (py p) (point? p) (point? 1)))", [5, 2, True, False]),
    ("parameterize", "(define p (make-parameter 1)) (list (p) (parameterize ((p 2)) (p)) (p))", [1, 2, 1]),
    ("delay and force", "(define n 0) (define p (delay (begin (set! n (+ n 1)) n))) (force p) (force p)", 1),
    ("macros", "(define-syntax swap! (syntax-rules () ((_ a b) (let ((t a)) (set! a b) (set! b t))))) (define x 1) (define y 2) (swap! x y) (list x y)", [2, 1]),
    ("hygiene", "(define-syntax my-or (syntax-rules () ((_ a b) (let ((t a)) (if t t b))))) (define t 5) (my-or #f t)", 5),
    ("a macro over a global", "(define total 0) (define-syntax add! (syntax-rules () ((_ n) (set! total (+ total n))))) (add! 2) (add! 3) total", 5),
    ("let-syntax", "(let-syntax ((one (syntax-rules () ((_) 1)))) (one))", 1),
    ("guard", "(guard (e ((symbol? e) (list 'caught e))) (raise 'boom))", ["caught", "boom"]),
    ("guard with =>", "(guard (e ((assq 'a e) => cdr) ((assq 'b e))) (raise (list (cons 'a 42))))", 42),
    ("guard passes on", "(guard (e ((string? e) 'outer)) (guard (e ((number? e) 'inner)) (raise \"x\")))", "outer"),
    ("guard leaves the extent", "(define l '()) (define (add x) (set! l (cons x l))) (guard (e (#t (add 'caught))) (dynamic-wind (lambda () (add 'in)) (lambda () (raise 1)) (lambda () (add 'out)))) (reverse l)", ["in", "out", "caught"]),
    ("raise-continuable", "(with-exception-handler (lambda (e) 10) (lambda () (+ 1 (raise-continuable 'c))))", 11),
    ("error objects", "(guard (e ((error-object? e) (list (error-object-message e) (error-object-irritants e)))) (error \"bad\" 1 'x))", ["bad", [1, "x"]]),
    ("an engine's error is an error object", "(guard (e ((error-object? e) 'yes)) (car 5))", "yes"),
    ("nested handlers", "(with-exception-handler (lambda (e) 1) (lambda () (with-exception-handler (lambda (e) (+ 1 (raise-continuable e))) (lambda () (raise-continuable 'x)))))", 2),
    ("call/cc escapes", "(call/cc (lambda (return) (for-each (lambda (x) (if (negative? x) (return x))) '(1 -2 3)) 'none))", -2),
    ("call/cc re-enters", "(define r '()) (define k #f) (let ((v (call/cc (lambda (c) (set! k c) 0)))) (set! r (cons v r))) (if (< (length r) 3) (k (length r))) (reverse r)", [0, 1, 2]),
    ("dynamic-wind and call/cc", """
     (let ((path '()) (c #f))
       (define (add s) (set! path (cons s path)))
       (dynamic-wind (lambda () (add 'connect)) (lambda () (add (call/cc (lambda (c0) (set! c c0) 'talk1)))) (lambda () (add 'disconnect)))
       (if (< (length path) 4) (c 'talk2) (reverse path)))""", ["connect", "talk1", "disconnect", "connect", "talk2", "disconnect"]),
    ("values through call/cc", "(call-with-values (lambda () (call/cc (lambda (k) (k 1 2)))) list)", [1, 2]),
    ("string ports", "(let ((p (open-output-string))) (write 'a p) (display \" \" p) (write \"q\" p) (newline p) (get-output-string p))", 'a "q"\n'),
    ("reading from a string", "(let ((p (open-input-string \"one\\ntwo\"))) (list (read-line p) (read-char p) (peek-char p) (read-string 2 p)))", ["one", "t", "w", "wo"]),
    ("bytevector ports", "(let ((p (open-output-bytevector))) (write-u8 7 p) (write-bytevector (bytevector 8 9) p) (let ((i (open-input-bytevector (get-output-bytevector p)))) (list (read-u8 i) (peek-u8 i) (read-bytevector 5 i) (eof-object? (read-u8 i)))))", [7, 8, b"\x08\x09", True]),
    ("call-with-output-string", "(call-with-output-string (lambda (p) (display 1 p)))", "1"),
    ("strings", "(list (string-upcase \"abc\") (string-append \"a\" \"b\") (substring \"hello\" 1 3) (string-index \"abc\" #\\c) (string-contains? \"abc\" \"bc\") (string-join '(\"a\" \"b\") \"-\") (string-split \"a,b\" #\\,) (string-trim-both \" x \"))", ["ABC", "ab", "el", 2, True, "a-b", ["a", "b"], "x"]),
    ("string->number", "(list (string->number \"1e3\") (string->number \"ff\" 16) (string->number \"x\") (number->string 255 16))", [1000.0, 255, False, "ff"]),
    ("characters", "(list (char-upcase #\\a) (char->integer #\\A) (char-numeric? #\\1) (digit-value #\\7))", ["A", 65, True, 7]),
    ("vectors", "(let ((v (make-vector 3 0))) (vector-set! v 1 5) (vector-fill! v 9 2) (list v (vector-map + v #(1 1 1)) (vector->list v 1) (vector-append #(1) #(2))))", [[0, 5, 9], [1, 6, 10], [5, 9], [1, 2]]),
    ("bytevectors", "(let ((b (bytevector 1 2 3))) (bytevector-u8-set! b 0 9) (list (bytevector-u8-ref b 0) (bytevector-length b) (utf8->string (bytevector 104 105))))", [9, 3, "hi"]),
    ("association lists", "(list (cadr (assq 'b '((a 1) (b 2)))) (cdr (assoc \"x\" '((\"x\" . 1)))) (cdr (assv 2 '((1 . 1) (2 . 4)))) (assq-ref '((k . v)) 'k))", [2, 1, 4, "v"]),
    ("hash tables", "(let ((t (make-hash-table)) (n 0)) (hash-set! t 'a 1) (hash-set! t \"b\" 2) (hash-remove! t 'a) (hash-for-each (lambda (k v) (set! n (+ n v))) t) (list (hash-ref t \"b\") (hash-ref t 'a 'none) n (hash-map->list (lambda (k v) k) t)))", [2, "none", 2, ["b"]]),
    ("SRFI 1", "(list (fold + 0 '(1 2 3)) (filter odd? '(1 2 3)) (iota 3) (take '(1 2 3) 2) (last '(1 2)) (any even? '(1 2)) (delete 2 '(1 2 3)) (append-map list '(1 2)) (list-index even? '(1 2)))", [6, [1, 3], [0, 1, 2], [1, 2], 2, True, [1, 3], [1, 2], 1]),
    ("sort", "(sort '(3 1 2) <)", [1, 2, 3]),
    ("apply and map", "(list (apply + 1 '(2 3)) (map + '(1 2) '(10 20)))", [6, [11, 22]]),
    ("quasiquote", "(let ((x 1) (l '(2 3))) `(a ,x ,@l))", ["a", 1, 2, 3]),
    ("format", "(format #f \"~a ~s ~,2f ~d\" 'x \"y\" 3.14159 7)", 'x "y" 3.14 7'),
    ("format without a port", "(format \"~a\" 1)", "1"),
    ("square brackets", "(let ([x 1] [y 2]) (+ x y))", 3),
    ("an import", "(import (scheme base) (scheme write) (only (srfi 1) fold)) 1", 1),
    ("comments", "; one\n#| two #| nested |# |# #;(three) 4", 4),
    ("a shebang", "#!/usr/bin/env ygg\n5", 5),
    ("a redefinition", "(define x 1) (define (x) 2) (x)", 2),
    ("a definition after its use in a procedure", "(define (f) (g)) (define (g) 7) (f)", 7),
    ("a redefined builtin", "(define (list . x) (length x)) (list 1 2 3)", 3),
    ("internal definitions", "(define (f) (define a 1) (define (b) (+ a 1)) (b)) (f)", 2),
    ("and-let*", "(and-let* ((x 1) (y (+ x 1))) y)", 2),
    ("bits", "(list (logand 12 10) (logior 12 10) (ash 1 4) (logbit? 2 4))", [8, 14, 16, True]),
    ("mathematics", "(list (sqrt 16) (exact (floor 2.7)) (max 1 2) (gcd 12 18) (exact->inexact 1/4) (number? 1) (atan 1 1))", [4, 2, 2, 6, 0.25, True, 0.7853981633974483]),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), [o[1:] for o in SCHEME_OFFERS], ids=[o[0] for o in SCHEME_OFFERS])
async def test_scheme_offers(lab: Lab, source: str, expected: Value) -> None:
    assert await lab.value(SCHEME, source) == expected


LUA_OFFERS: list[tuple[str, str, Value]] = [
    ("integers and floats", "return {7 // 2, 7 / 2, 1 << 40, math.type(1)}", [3, 3.5, 1 << 40, "integer"]),
    ("string library", 'return {("%5.1f|"):format(2.25), ("a,b"):gsub(",", "-"), ("abc"):sub(2)}', ["  2.2|", "a-b", "bc"]),
    ("patterns", 'local k, v = ("key = 5"):match("(%w+) = (%d+)") return {k, tonumber(v)}', ["key", 5]),
    ("table library", "local t = {3, 1} table.insert(t, 2) table.sort(t) return table.concat(t, ',')", "1,2,3"),
    ("closures", "local n = 0 local function f() n = n + 1 return n end f() return f()", 2),
    ("metatables", "local m = setmetatable({}, {__index = function(_, k) return k .. '!' end}) return m.x", "x!"),
    ("goto and integer for", "local s = 0 for i = 1, 10 do if i % 2 == 0 then goto next end s = s + i ::next:: end return s", 25),
    ("coroutines", "local c = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b * 2 end) return {c(1), c(5)}", [2, 10]),
    ("coroutine status", "local c = coroutine.create(function() coroutine.yield() end) coroutine.resume(c) local s = coroutine.status(c) coroutine.resume(c) return {s, coroutine.status(c), coroutine.isyieldable(), (select(2, coroutine.running()))}", ["suspended", "dead", False, True]),
    ("an error in a coroutine", "local ok, e = coroutine.resume(coroutine.create(function() error('x', 0) end)) return {ok, e}", [False, "x"]),
    ("pcall with a yield inside", "local c = coroutine.wrap(function() return pcall(function() coroutine.yield(1) error('late', 0) end) end) c() return (select(2, c()))", "late"),
    ("to-be-closed variables", "local log = '' do local x <close> = setmetatable({}, {__close = function() log = 'closed' end}) end return log", "closed"),
    ("load", "return load('return 1 + ...')(2)", 3),
    ("load with an environment", "local env = {x = 5} return load('return x', 'c', 't', env)()", 5),
    ("utf8", 'return {utf8.len("é漢"), utf8.char(233)}', [2, "é"]),
    ("os.date of a time", "return os.date('!%Y', 0)", "1970"),
    ("error values", "local ok, e = pcall(error, {code = 7}) return e.code", 7),
    ("xpcall with a handler", "local ok, e = xpcall(function() error('x', 0) end, function(m) return m .. '!' end) return e", "x!"),
    ("string to number", "return {tonumber('0x10'), tonumber('z', 36), tostring(1.5)}", [16, 35, "1.5"]),
    ("collectgarbage counts", "return collectgarbage('count') > 0", True),
    ("select and varargs", "local function f(...) return select('#', ...) end return f(nil, nil)", 2),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), [o[1:] for o in LUA_OFFERS], ids=[o[0] for o in LUA_OFFERS])
async def test_lua_offers(lab: Lab, source: str, expected: Value) -> None:
    assert await lab.value(LUA, source) == expected


ERRORS: list[tuple[str, Language, str, str, int, str]] = [
    ("a syntax error", LUA, "local x = 1\nlocal y = = 2", "SYNTAX", 2, "unexpected symbol near '='"),
    ("a text that stops", LUA, "if true then\n", "SYNTAX", 2, "'end' expected"),
    ("a call of nil", LUA, "local x = 1\nnothing()", "SCRIPT_ERROR", 2, "attempt to call a nil value (global 'nothing')"),
    ("error()", LUA, "\n\nerror('my words')", "SCRIPT_ERROR", 3, "my words"),
    ("error() without a place", LUA, "\nerror('my words', 0)", "SCRIPT_ERROR", 2, "my words"),
    ("a table with a message", LUA, "\nerror({message = 'in a table'})", "SCRIPT_ERROR", 2, "in a table"),
    ("a table without", LUA, "\nerror({})", "SCRIPT_ERROR", 2, "{}"),
    ("nil raised", LUA, "\nerror()", "SCRIPT_ERROR", 2, "nil"),
    ("not UTF-8", LUA, "\nerror('\\xff', 0)", "SCRIPT_ERROR", 2, "?"),
    ("in a function", LUA, "local function f()\n  error('deep')\nend\n\nf()", "SCRIPT_ERROR", 2, "deep"),
    ("in a coroutine", LUA, "local c = coroutine.wrap(function()\n  error('deep')\nend)\nc()", "SCRIPT_ERROR", 2, "deep"),
    ("arithmetic on a string", LUA, "return 1 + {}", "SCRIPT_ERROR", 1, "attempt to perform arithmetic on a table value"),
    ("a parenthesis too few", SCHEME, "(define x 1)\n(display (car x)", "SYNTAX", 2, "this ( is never closed"),
    ("a parenthesis too many", SCHEME, "(define x 1))\n", "SYNTAX", 1, "closes nothing"),
    ("a bracket crossed", SCHEME, "(list [1 2)]\n", "SYNTAX", 1, "where ] closes"),
    ("a string without an end", SCHEME, '\n(display "abc)', "SYNTAX", 2, "a string has no end"),
    ("a bad let", SCHEME, "1\n(let ((x)) x)", "SYNTAX", 2, "let"),
    ("a bad if", SCHEME, "1\n(if)", "SYNTAX", 2, "if"),
    ("too deep", SCHEME, "(" * 2000, "SYNTAX", 1, "deeper"),
    ("an unbound variable", SCHEME, "1\n(nothing)", "SCRIPT_ERROR", 2, "nothing is not defined"),
    ("a wrong type", SCHEME, "(define (f x)\n  (+ 1 (car x)))\n(f 5)", "SCRIPT_ERROR", 2, "car: argument 1 is 5, not a pair"),
    ("error", SCHEME, '\n(error "my words" 1 "two")', "SCRIPT_ERROR", 2, 'my words 1 "two"'),
    ("a raised symbol", SCHEME, "\n(raise 'boom)", "SCRIPT_ERROR", 2, "raised boom"),
    ("too many arguments", SCHEME, "\n(list (car 1 2))", "SCRIPT_ERROR", 2, "car takes 1 argument, not 2"),
    ("an application of a number", SCHEME, "\n(5 6)", "SCRIPT_ERROR", 2, "5 is called and is not a procedure"),
    ("a vector out of range", SCHEME, "\n(vector-ref (vector 1) 5)", "SCRIPT_ERROR", 2, "out of range"),
    ("a division", SCHEME, "\n(/ 1 0)", "SCRIPT_ERROR", 2, "/: division by zero"),
    ("a long message", SCHEME, '\n(error (make-string 100000 #\\x))', "SCRIPT_ERROR", 2, "xxxx"),
    ("a printed circle", SCHEME, "(define l (list 1)) (set-cdr! l l)\n(raise l)", "SCRIPT_ERROR", 2, "raised (1"),
    ("in a guard", SCHEME, "(guard (e (#f 1))\n  (car 1))", "SCRIPT_ERROR", 2, "car"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("language", "source", "reason", "line", "says"), [e[1:] for e in ERRORS], ids=[f"{e[1].value}-{e[0]}" for e in ERRORS]
)  # fmt: skip
async def test_error_has_message_and_position(
    lab: Lab, language: Language, source: str, reason: str, line: int, says: str
) -> None:
    error = await lab.failure(language, source)
    assert (error.reason, error.line) == (reason, line), error
    assert says in error.message
    assert len(error.message) <= 600
    assert error.code is (Code.INVALID_ARGUMENT if reason == "SYNTAX" else Code.FAILED_PRECONDITION)


async def test_a_traceback_goes_from_inside_out(lab: Lab) -> None:
    lua = await lab.failure(LUA, "local function f()\n  error('x')\nend\nlocal function g()\n  f()\nend\ng()")
    assert [line.split(":")[1] for line in lua.traceback.splitlines()] == ["2", "5", "7"]
    scheme = await lab.failure(SCHEME, "(define (f x)\n  (+ 1 (car x)))\n(define (g x)\n  (* 2 (f x)))\n(list (g 5))")
    assert scheme.traceback.splitlines()[0].startswith("test.scm:2")


@pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])
@pytest.mark.parametrize(
    "name", ["ü.x", "a b", "../../etc/passwd", "x" * 200, "=stdin", "@at", "new\nline", "%s%n", ""]
)
async def test_any_name_will_do(lab: Lab, language: Language, name: str) -> None:
    source = "error('x')" if language is LUA else '(error "x")'
    error = await lab.failure(language, source, name=name)
    assert (error.reason, error.message, error.line) == ("SCRIPT_ERROR", "x", 1)


DIALECT: list[tuple[str, str, Value]] = [
    ("a table is made", "(let ((h (hash 'a 1 'b 2))) (list (hash-length h) (hash-ref h 'b) (hash-get h 'a)))", [2, 2, 1]),
    ("insert leaves the first as it was", "(let* ((h (hash 'a 1)) (i (hash-insert h 'b 2))) (list (hash-length h) (hash-length i)))", [1, 2]),
    ("remove too", "(let* ((h (hash 'a 1)) (i (hash-remove h 'a))) (list (hash-contains? h 'a) (hash-contains? i 'a)))", [True, False]),
    ("try-get", "(hash-try-get (hash 'a 1) 'b)", False),
    ("false is a value", "(list (hash-contains? (hash 'a #f) 'a) (hash-get (hash 'a #f) 'a))", [True, False]),
    ("get fails", "(guard (e (#t (error-object-message e))) (hash-get (hash) 'x))", "no such key:"),
    ("get with a default", "(hash-get (hash) 'x 7)", 7),
    ("keys and values", "(list (sort (hash-keys->list (hash 3 'c 1 'a)) <) (apply + (hash-values->list (hash 'a 1 'b 2))))", [[1, 3], 3]),
    ("a key without a value", "(guard (e (#t (error-object-message e))) (hash 'a))", "hash takes keys and values in turn; this key has no value:"),
    ("get of a table", "(list (get (hash 'a 1) 'a) (get (hash 'a 1) \"a\") (get (hash \"a\" 1) 'a) (get (hash) 'a) (get (hash) 'a 5))", [1, 1, 1, False, 5]),
    ("get of an association list", "(list (get '((a . 1)) 'a) (get '((a . 1)) \"a\") (get '() 'a 5))", [1, 1, 5]),
    ("get from the result of a call", "(get (call \"led0.blink\" '((times . 2) (period_ms . 100))) 'count)", 2),
    ("string-contains?", "(list (string-contains? \"abc\" \"bc\") (string-contains? \"abc\" \"x\"))", [True, False]),
    ("split-many", "(list (split-many \"a, b, c\" \", \") (split-many \"\" \",\") (split-many \",\" \",\"))", [["a", "b", "c"], [""], ["", ""]]),
    ("trim", "(list (trim \"  a b \") (trim-start \" a \") (trim-end \" a \"))", ["a b", "a ", " a"]),
    ("with-handler", "(with-handler (lambda (e) (error-object-message e)) (error \"boom\" 1) 2)", "boom"),
    ("with-handler without an error", "(with-handler (lambda (e) 'no) 1 2)", 2),
    ("with-handler of a host error", "(with-handler host-error-reason (property-read \"nope.x\"))", "NOT_IN_CONTRACT"),
    ("a log that is a logarithm", "(list (log 1) (log 100 10) (inexact (round (log 8 2))))", [0.0, 2.0, 3.0]),
    ("square brackets", "(let ([a 1] [b 2]) (cond [(< a b) 'less] [else 'more]))", "less"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "value"), [d[1:] for d in DIALECT], ids=[d[0] for d in DIALECT])
async def test_names_of_embedded_schemes_are_defined(lab: Lab, source: str, value: Value) -> None:
    assert await lab.value(SCHEME, source) == value


LEFT_OUT = {
    "base": "cond-expand current-error-port current-input-port current-output-port features include include-ci",
    "eval": "environment eval",
    "file": "call-with-input-file call-with-output-file delete-file file-exists? open-binary-input-file"
    " open-binary-output-file open-input-file open-output-file with-input-from-file with-output-to-file",
    "load": "",  # our own `load` reads the store
    "process-context": "command-line emergency-exit exit get-environment-variable get-environment-variables",
    "read": "read",
    "repl": "interaction-environment",
    "r5rs": "current-input-port current-output-port eval interaction-environment null-environment read"
    " scheme-report-environment",
} | dict.fromkeys(("case-lambda", "char", "complex", "cxr", "inexact", "lazy", "time", "write"), "")
MISSING = """
(use-modules (ygg bindings))
(for-each
 (lambda (library)
   (display library)
   (module-for-each
    (lambda (name _) (unless (module-variable script-interface name) (display " ") (display name)))
    (resolve-interface `(scheme ,library)))
   (newline))
 (map string->symbol (cdr (program-arguments))))
"""


async def test_names_missing_from_r7rs_are_those_on_the_page(scheme_cache: Path) -> None:
    guile = build.find()
    start = build.command(guile, build.ensure(guile, scheme_cache))[:-1]
    done = subprocess.run([*start, MISSING, *LEFT_OUT], check=True, capture_output=True, text=True)  # noqa: ASYNC221
    missing = {words[0]: sorted(words[1:]) for line in done.stdout.splitlines() if (words := line.split())}
    assert missing == {library: names.split() for library, names in LEFT_OUT.items()}
    page = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "scripting.md").read_text()  # noqa: ASYNC240
    listed = page[page.index("Left out of R7RS") :].split("\n\n", 2)[1]
    assert all(row.count("|") == 4 and row.split("|")[3].strip() for row in listed.splitlines()), "a reason each"
    assert [name for names in LEFT_OUT.values() for name in names.split() if f"`{name}`" not in listed] == []


async def test_the_linter_knows_exactly_the_names_that_lua_has(lab: Lab) -> None:
    source = """
    local found = {}
    for name, value in pairs(_G) do
      found[name] = {}
      if type(value) == "table" and name ~= "_G" and name ~= "args" and name ~= "device" then
        for member in pairs(value) do found[name][member] = true end
      end
    end
    return found"""
    found: Any = await lab.value(LUA, source)
    assert set(found) == LUA_GLOBALS
    assert {name: frozenset(members) for name, members in found.items() if members} == LUA_MEMBERS


async def test_the_linter_knows_exactly_the_methods_of_a_device(lab: Lab) -> None:
    for method in sorted(DEVICE_METHODS):
        assert await lab.value(LUA, f"return type(device.{method})") == "function"
    assert (await lab.failure(LUA, "return device.raed")).reason == "NOT_IN_CONTRACT"
