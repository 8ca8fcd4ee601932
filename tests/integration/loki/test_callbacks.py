# ruff: noqa: E501 - a table, one a line
"""Procedures of a script that something else calls: each may ask the host, in runs and in programs alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from services.domain.values import Value
from services.loki.adapters.live_worker import LiveWorker
from services.loki.errors import ScriptError
from services.loki.model import MIB, Language, Level
from tests.integration.loki.conftest import Lab

pytestmark = pytest.mark.asyncio(loop_scope="module")
LUA, SCHEME = Language.LUA, Language.SCHEME
ASKS = {LUA: "local function w(...) sleep(0) return ... end ", SCHEME: "(define (w x) (sleep 0) x) "}
WORK: list[tuple[Language, str, Value]] = [
    (LUA, "local t = {3, 1, 2} table.sort(t, function(a, b) return w(a < b) end) return t", [1, 2, 3]),
    (LUA, "local t = {} for i = 1, 100 do t[i] = i * 37 % 101 end table.sort(t, function(a, b) return w(a > b) end) return {t[1], t[50], t[100]}", [100, 51, 1]),
    (LUA, "return {('hello world'):gsub('o', function(c) return w(c:upper()) end)}", ["hellO wOrld", 2]),
    (LUA, "return {('a=1, b=2'):gsub('(%w)=(%w)', function(k, v) return w(v .. k) end, 1)}", ["1a, b=2", 1]),
    (LUA, "return {('abc'):gsub('', function() return w('-') end)}", ["-a-b-c-", 4]),
    (LUA, "return {('abc'):gsub('^a', function() return w(false) end)}", ["abc", 1]),
    (LUA, "return {('abc'):gsub('%w*', function(s) return w('<' .. s .. '>') end)}", ["<abc>", 1]),
    (LUA, "return {('a b'):gsub('()%w', function(at) return w(at) end)}", ["1 3", 2]),
    (LUA, "local n = 0 return load(function() n = n + 1 return w(({'return ', '7'})[n]) end)()", 7),
    (LUA, "return {xpcall(error, function(e) return w('handled ' .. e) end, 'x')}", [False, "handled x"]),
    (LUA, "return setmetatable({}, {__index = function(_, k) return w(k) end}).abc", "abc"),
    (LUA, "local t = setmetatable({}, {__lt = function() return w(true) end}) return t < t", True),
    (LUA, "local n = 0 for v in function() n = n + 1 return w(n < 4 and n or nil) end do end return n", 4),
    (LUA, "local log = '' do local x <close> = setmetatable({}, {__close = function() log = w('closed') end}) end return log", "closed"),
    (LUA, "return coroutine.wrap(function() return w(5) end)()", 5),
    (LUA, "for k in pairs(setmetatable({}, {__pairs = function() w() return next, {a = 1} end})) do return k end", "a"),
    (SCHEME, '(list (string-any (lambda (c) (w (char=? c #\\b))) "abc") (string-every (lambda (c) (w #t)) "abc") (string-any w ""))', [True, True, False]),
    (SCHEME, '(list (string-index "abc" (lambda (c) (w (char=? c #\\b)))) (string-index-right "abcb" (lambda (c) (w (char=? c #\\b)))) (string-skip "aab" (lambda (c) (w (char=? c #\\a)))))', [1, 3, 2]),
    (SCHEME, '(list (string-filter (lambda (c) (w (char>? c #\\a))) "abc") (string-delete (lambda (c) (w (char>? c #\\a))) "abc") (string-count "abcb" (lambda (c) (w (char=? c #\\b)))))', ["bc", "a", 2]),
    (SCHEME, '(list (string-filter #\\a "aba") (string-delete #\\a "aba") (string-count "aba" #\\a) (string-index "aba" #\\b) (string-skip "aba" #\\a) (string-index-right "aba" #\\a))', ["aa", "b", 2, 1, 1, 2]),
    (SCHEME, '(list (string-trim "  a " (lambda (c) (w (char=? c #\\space)))) (string-trim-right " a  " (lambda (c) (w (char=? c #\\space)))) (string-trim-both " a " (lambda (c) (w (char=? c #\\space)))) (string-trim-both "xxaxx" #\\x) (string-trim-right "   ") (string-trim "") (string-trim-both "\\ta "))', ["a ", " a", "a", "a", "", "", "a"]),
    (SCHEME, '(string-fold (lambda (c n) (w (+ n 1))) 0 "abc" 1)', 2),
    (SCHEME, '(define l (quote ())) (string-for-each (lambda (a b) (w (set! l (cons (string a b) l)))) "abc" "de") (string-for-each (lambda (c) (set! l (cons (w c) l))) "xyz" 2) l', ["z", "be", "ad"]),
    (SCHEME, '(list (string-map (lambda (c) (w (char-upcase c))) "abc") (string-map (lambda (a b) (w (if (char<? a b) a b))) "adc" "bbcc"))', ["ABC", "abc"]),
    (SCHEME, "(list (filter (lambda (x) (w (odd? x))) '(1 2 3)) (remove (lambda (x) (w (odd? x))) '(1 2 3)) (call-with-values (lambda () (partition (lambda (x) (w (odd? x))) '(1 2 3))) list))", [[1, 3], [2], [[1, 3], [2]]]),
    (SCHEME, "(list (count (lambda (x) (w (odd? x))) '(1 2 3)) (count (lambda (a b) (w (< a b))) '(1 5) '(2 3 4)))", [2, 1]),
    (SCHEME, "(list (delete 2 '(1 2 3) (lambda (a b) (w (< a b)))) (delete-duplicates '(1 2 1 3 2) (lambda (a b) (w (= a b)))))", [[1, 2], [1, 2, 3]]),
    (SCHEME, "(define t (hash 'a 1)) (list (hash-count (lambda (k v) (w #t)) t) (hash-map->list (lambda (k v) (w (+ v 1))) t) (let ((n 0)) (hash-for-each (lambda (k v) (w (set! n v))) t) n))", [1, [2], 1]),
    (SCHEME, "(list (sort '(3 1 2) (lambda (a b) (w (< a b)))) (sort (vector 3 1 2) (lambda (a b) (w (> a b)))) (map cdr (stable-sort '((1 . a) (0 . b) (1 . c)) (lambda (a b) (w (< (car a) (car b)))))) (sort '() w))", [[1, 2, 3], [3, 2, 1], ["b", "a", "c"], []]),
    (SCHEME, "(list (sorted? '(1 2 2) (lambda (a b) (w (< a b)))) (sorted? #(2 1) (lambda (a b) (w (< a b)))) (sort '(3 1 2) <))", [True, False, [1, 2, 3]]),
    (SCHEME, "(list (cdr (assoc 1 '((2 . 3) (1 . 2)) (lambda (a b) (w (= a b))))) (member 1 '(2 1) (lambda (a b) (w (= a b)))))", [2, [1]]),
    (SCHEME, "(list (map w '(1 2)) (vector-map w #(1 2)) (fold (lambda (a n) (w (+ a n))) 0 '(1 2)) (append-map (lambda (x) (w (list x x))) '(1 2)) (list-tabulate 2 w))", [[1, 2], [1, 2], 3, [1, 1, 2, 2], [0, 1]]),
    (SCHEME, "(list (call/cc (lambda (k) (with-exception-handler (lambda (e) (k (w 7))) (lambda () (car 1))))) (with-exception-handler (lambda (e) (w 2)) (lambda () (+ 1 (raise-continuable 'x)))))", [7, 3]),
    (SCHEME, "(define l '()) (guard (e (#t (w (set! l (cons 'caught l))))) (dynamic-wind (lambda () (w 1)) (lambda () (car 1)) (lambda () (w (set! l (cons 'left l)))))) l", ["caught", "left"]),
    (SCHEME, "(list (force (delay (w 1))) (let ((p (make-parameter 1 w))) (parameterize ((p 2)) (w (p)))) (call-with-output-string (lambda (port) (write (w 3) port))))", [1, 2, "3"]),
]  # fmt: skip
REFUSED = [
    (LUA, "tostring(setmetatable({}, {__tostring = function() w() return '' end}))"),
    (LUA, "table.concat(setmetatable({}, {__len = function() return 1 end, __index = function() return w('x') end}))"),
    (SCHEME, "(guard (e ((w #t) 1)) (car 1))"),
]


class Answering:
    """A host that answers every request with an empty value."""

    waiting_for = ""

    async def ask(self, operation: str, arguments: Sequence[Value]) -> Value:
        return None

    def log(self, level: Level, text: str) -> None:
        pass

    def spend_output(self, size_bytes: int) -> None:
        pass


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def workers(_shared: Lab) -> AsyncIterator[dict[Language, LiveWorker]]:
    """One worker of programs per language."""
    started = {language: await LiveWorker.start(await _shared.commands[language]()) for language in Language}
    yield started
    for each in started.values():
        await each.close()


async def in_a_program(worker: LiveWorker, language: Language, source: str) -> Value:
    """Return the value of `source` that a program reports in its own event."""
    text = f"function body() {source} end" if language is LUA else f"(define (body) {source})"
    start: dict[str, Any] = {"do": "start", "name": "x", "source": text, "device": "", "args": '{"m":{}}'}
    await worker.turn(1, {**start, "memory_bytes": 4 * MIB}, Answering())[1]
    call = "body()" if language is LUA else "(body)"
    return (await worker.turn(1, {"do": "eval", "key": call, "value": ""}, Answering())[1]).value


@pytest.mark.parametrize(("language", "source", "value"), WORK)
async def test_library_callback_may_call_the_host(
    lab: Lab, workers: dict[Language, LiveWorker], language: Language, source: str, value: Value
) -> None:
    assert await lab.value(language, ASKS[language] + source) == value
    assert await in_a_program(workers[language], language, ASKS[language] + source) == value


@pytest.mark.parametrize(("language", "source"), REFUSED)
async def test_runs_and_programs_fail_alike_when_waiting_is_impossible(
    lab: Lab, workers: dict[Language, LiveWorker], language: Language, source: str
) -> None:
    assert (await lab.failure(language, ASKS[language] + source)).reason == "CANNOT_WAIT_HERE"
    with pytest.raises(ScriptError) as refused:
        await in_a_program(workers[language], language, ASKS[language] + source)
    assert refused.value.reason == "CANNOT_WAIT_HERE"


async def test_inconsistent_lua_order_is_not_an_error(lab: Lab) -> None:
    source = "local t = {} for i = 1, 50 do t[i] = i end table.sort(t, function() return true end) return #t"
    assert await lab.value(LUA, source) == 50
