# ruff: noqa: E501 - scripts in tables, one a line
"""What the linter finds and, as important, what it leaves alone."""

from __future__ import annotations

import pytest

from services.loki.lint.check import lint
from services.loki.lint.dialect import Dialect
from services.loki.lint.findings import Finding
from services.loki.lint.lua_tokens import tokens
from services.loki.lint.names import scheme_names
from services.loki.lint.scheme_reader import read
from services.loki.model import Language
from tests.fakes.scripting import HUMIDITY, LED, MEMO, TEMPERATURE

LUA, SCHEME = Language.LUA, Language.SCHEME
PORCH = {"porch-1": (LED, TEMPERATURE, HUMIDITY, MEMO)}
FLEET = PORCH | {"cellar-1": (TEMPERATURE,)}

FOUND: list[tuple[str, Language, str, tuple[int, int, str], str]] = [
    ("an undefined name", LUA, "local x = 1\nreturn x + yy", (2, 12, "UNDEFINED"), "yy is defined nowhere"),
    ("an undefined call", LUA, "foo()", (1, 1, "UNDEFINED"), "foo"),
    ("a value in a table", LUA, "return { a = 1, b = baz }", (1, 21, "UNDEFINED"), "baz"),
    ("an operation of the host", LUA, "ygg.device_list()", (1, 5, "UNKNOWN_CALL"), "ygg has no device_list"),
    ("a member of json", LUA, "return json.stringify({})", (1, 13, "UNKNOWN_CALL"), "it has array, decode, encode"),
    ("a member of a library", LUA, 'return string.split("a", "b")', (1, 15, "UNKNOWN_CALL"), "string has no split"),
    ("a method of a device", LUA, 'device:raed("temp0.celsius")', (1, 8, "UNKNOWN_CALL"), "no method raed"),
    ("a capability", LUA, "device.led9.on()", (1, 8, "NOT_IN_CONTRACT"), "porch-1 has no capability led9; it has led0, temp0"),
    ("a member of a capability", LUA, "device.led0.flash()", (1, 13, "NOT_IN_CONTRACT"), "led0 has no member flash"),
    ("a property to read", LUA, 'return device:read("temp0.kelvin")', (1, 20, "NOT_IN_CONTRACT"), "no property to read kelvin"),
    ("a property to write", LUA, 'device:write("temp0.celsius", 1)', (1, 14, "NOT_IN_CONTRACT"), "no property to write celsius"),
    ("an action", LUA, 'device:call("led0.flash")', (1, 13, "NOT_IN_CONTRACT"), "led0 has no action flash; it has blink"),
    ("an event", LUA, 'device:on("temp0.over", print)', (1, 11, "NOT_IN_CONTRACT"), "temp0 has no event over"),
    ("a name of the contract", LUA, "set_temp0(1)", (1, 1, "NOT_IN_CONTRACT"), "porch-1 has no property to set"),
    ("an argument", LUA, "device.led0.blink{ times = 99 }", (1, 20, "ARGUMENT_NOT_IN_CONTRACT"), "times is 99, the contract allows 1 to 20"),
    ("an argument's name", LUA, 'device:call("led0.blink", {time = 9})', (1, 28, "ARGUMENT_NOT_IN_CONTRACT"), "has no argument time"),
    ("a value out of range", LUA, "device.led0.brightness(400)", (1, 24, "ARGUMENT_NOT_IN_CONTRACT"), "0 to 100"),
    ("a schedule", LUA, 'cron("a", "0 */5 * * *", print)', (1, 11, "CRON"), '"0 */5 * * *" means every five hours. Every five minutes is "*/5 * * * *".'),
    ("a schedule that is none", LUA, 'ygg.cron("a", "61 * * * *", print)', (1, 15, "CRON"), "61"),
    ("after a long comment", LUA, "--[[ one\ntwo ]] local s = [==[\n]] ]==]\nfoo()", (4, 1, "UNDEFINED"), "foo"),
    ("a package", LUA, "-- @depends base 1.0.0\nlocal u = require('units')", (2, 19, "NOT_DECLARED"), "write @depends units VERSION"),
    ("a package", SCHEME, "; @depends base\n(import (prefix (package units) u:))", (2, 9, "NOT_DECLARED"), "write @depends units VERSION"),
    ("beside what a package has", SCHEME, "; @depends units\n(import (only (package units) f))\n(g (f 1))", (3, 2, "UNDEFINED"), "g is"),
    ("beside a prefix", SCHEME, "; @depends units\n(import (prefix (package units) u:))\n(g (u:f 1))", (3, 2, "UNDEFINED"), "g is"),
    ("an undefined name", SCHEME, "(define x 1)\n(+ x yy)", (2, 6, "UNDEFINED"), "yy is defined nowhere"),
    ("an undefined call", SCHEME, "(foo)", (1, 2, "UNDEFINED"), "foo"),
    ("what is not in this Scheme", SCHEME, '(system "id")', (1, 2, "UNDEFINED"), "system"),
    ("in a quasiquotation", SCHEME, "`((a . ,bb))", (1, 9, "UNDEFINED"), "bb"),
    ("a symbol for its value", SCHEME, "(define temp 20)\n(publish \"x\" '((temperature . temp)))", (2, 14, "QUOTED"), "'((temperature . temp)) is quoted, so it sends the symbol temp and not its value. Write `((temperature . ,temp))"),
    ("the words of a call", SCHEME, "(publish \"x\" '((t . (read-temp0))))", (1, 14, "QUOTED"), "Write `((t . ,(read-temp0)))"),
    ("a list for its value", SCHEME, "(define temp 20)\n(publish \"x\" '((t temp)))", (2, 14, "QUOTED"), "the symbol temp"),
    ("a capability", SCHEME, '(led-on "led9")', (1, 9, "NOT_IN_CONTRACT"), "no capability led9"),
    ("a property", SCHEME, '(property-read "temp0.kelvin")', (1, 16, "NOT_IN_CONTRACT"), "kelvin"),
    ("an action", SCHEME, "(call \"led0.flash\" '())", (1, 7, "NOT_IN_CONTRACT"), "flash"),
    ("an event", SCHEME, '(on-event "led0.over" display)', (1, 11, "NOT_IN_CONTRACT"), "no event over"),
    ("a name of the contract", SCHEME, "(set-temp0! 1)", (1, 2, "NOT_IN_CONTRACT"), "set_temp0"),
    ("an argument", SCHEME, "(call \"led0.blink\" '((times . 99)))", (1, 22, "ARGUMENT_NOT_IN_CONTRACT"), "1 to 20"),
    ("a value out of range", SCHEME, '(property-write! "led0.brightness" 400)', (1, 36, "ARGUMENT_NOT_IN_CONTRACT"), "0 to 100"),
    ("a schedule", SCHEME, '(cron "a" "0 */5 * * *" display)', (1, 11, "CRON"), "every five hours"),
    ("after a nested comment", SCHEME, "#| a #| b |# \n c |# #;(d\n) (foo)", (3, 4, "UNDEFINED"), "foo"),
]  # fmt: skip

FINE: list[tuple[str, Language, str]] = [
    ("a package", LUA, "-- Keep warm.\n-- @depends units 1.0.0\nlocal u = require 'units' return u"),
    ("a package", SCHEME, ";; @depends units 1.0.0\n(import (package units)) (f 1)"),
    ("definitions of all kinds", LUA, "local a <const>, b = 1, 2 local function f(c, ...) d, e = c, a return ... end for i, v in pairs({}) do f(i, v) end function g.h:i() end g = {} x = 1 return b, d, e, x, g"),
    ("keys of tables", LUA, "return { one = 1, two = { three = 3 } , ['four'] = 4 }"),
    ("fields and methods", LUA, 'local t = {} t.a = 1 t.b.c = 2 return t.a, t:foo(), ("x"):rep(2)'),
    ("functions in tables", LUA, "local t = { f = function(p) q = p return q end } return t"),
    ("labels", LUA, "::top:: goto top"),
    ("the whole of ygg", LUA, 'ygg.log("x") for _, d in ipairs(ygg.devices{has = "actuator.led"}) do d:read("x.y") d.anything.at_all() end'),
    ("another device", LUA, 'ygg.device("other").led9.on() local other = ygg.device("x") other:call("y.z")'),
    ("a device of its own", LUA, "local device = {} device.foo() device:bar()"),
    ("a library of its own", LUA, "local string = {} string.split()"),
    ("what the contract has", LUA, 'device.led0.on() device.led0.brightness(40) device.led0.blink{times = 3, period_ms = 100} device:write("led0.on", true) set_led0(true) device.read_temp0() device:on("online", print)'),
    ("comments and strings", LUA, '-- foo()\nlocal s = "foo() \\" bar()" return s, [[baz()]]'),
    ("a shebang", LUA, "#!/usr/bin/env lua\nreturn 1"),
    ("definitions of all kinds", SCHEME, "(define x 1) (define (f a #:optional b . rest) (list a b rest)) (define-values (p q) (values 1 2)) (define-record-type pt (mk a1) pt? (a1 pt-a)) (let loop ((i 0)) (if (< i x) (loop (+ i 1)))) (let-values (((u v) (values 1 2))) (list u v p q (mk 1) pt-a)) (do ((j 0 (+ j 1))) ((= j 2) j)) (case-lambda ((m) m) ((m . n) n)) (guard (e (#t e)) 1) (receive (r . s) (values 1 2) (list r s))"),
    ("macros", SCHEME, "(define-syntax swap! (syntax-rules () ((_ a b) (let ((tmp a)) (set! a b) (set! b tmp))))) (define one 1) (define two 2) (swap! one two) (define-syntax while (syntax-rules () ((_ c body ...) (let lp () (when c body ... (lp)))))) (while #f anything)"),
    ("quoted data", SCHEME, "(define temp 1) '(a b temp) '((a . 1) (b . \"x\") (c . d)) 'temp (list temp)"),
    ("case", SCHEME, "(case 3 ((a b) 1) ((3) 2) (else => (lambda (x) x)))"),
    ("another device", SCHEME, '(with-device "other" (property-read "foo.bar") (read-nothing))'),
    ("what the contract has", SCHEME, "(led-on) (led-on \"led0\") (read-temp0-celsius) (set-led0! #t) (call \"led0.blink\" '((times . 3))) (property-write! \"led0.brightness\" 40) (on-event \"online\" display)"),
    ("imports", SCHEME, "(import (scheme base) (only (srfi 1) fold)) (fold + 0 '(1 2))"),
    ("square brackets", SCHEME, "(let ([a 1] [b 2]) (cond [(< a b) a] [else b]))"),
    ("characters", SCHEME, "(list #\\( #\\a #\\space #\\x41 \"a;b\" '|a b|)"),
]  # fmt: skip


def brief(finding: Finding) -> tuple[int, int, str]:
    return finding.line, finding.column, finding.rule


@pytest.mark.parametrize(
    ("language", "source", "where", "says"), [f[1:] for f in FOUND], ids=[f"{f[1].value}-{f[0]}" for f in FOUND]
)
def test_what_is_wrong_is_found_where_it_stands(
    language: Language, source: str, where: tuple[int, int, str], says: str
) -> None:
    found = lint(source, language, PORCH)
    assert [brief(finding) for finding in found] == [where]
    assert says in found[0].message


@pytest.mark.parametrize(("language", "source"), [f[1:] for f in FINE], ids=[f"{f[1].value}-{f[0]}" for f in FINE])
def test_what_is_right_is_left_alone(language: Language, source: str) -> None:
    assert lint(source, language, PORCH) == []


@pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])
def test_without_a_target_nothing_is_held_against_a_contract(language: Language) -> None:
    source = "device.led9.on()" if language is LUA else '(property-read "nope.nope") (read-nope)'
    assert lint(source, language, {}) == []


def test_what_one_of_the_targets_has_is_no_finding() -> None:
    assert lint("device.led0.on()", LUA, FLEET) == []
    assert [f.rule for f in lint("device.siren0.on()", LUA, FLEET)] == ["NOT_IN_CONTRACT"]


@pytest.mark.parametrize(
    "source", ["(", ")", "'", "#|", '"', "#", "(a . ", "|", "[[", "--[[", "'a", "{", "\x00", "((((" * 3000, "🙂" * 10]
)
@pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])
def test_a_text_that_is_none_is_read_as_far_as_it_goes(language: Language, source: str) -> None:
    lint(source, language, PORCH)


def test_the_readers_keep_places_in_characters() -> None:
    assert [(t.text, t.line, t.column) for t in tokens('e = "ü"\n  b')][-1] == ("b", 2, 3)
    node = read('("ü" b)\n c')[0].items[1]
    assert (node.line, node.column) == (1, 6)


def test_the_names_of_scheme_are_those_of_the_engine() -> None:
    names = scheme_names(Dialect.R7RS)
    assert {"car", "led-on", "log", "sleep", "hash-insert", "with-handler", "set!", "call/cc", "cron"} <= names
    assert not {"script-log", "system", "eval", "bounded-iota", "mqtt-publish"} & names
    assert names | {"mqtt-publish", "set-timer", "while"} <= scheme_names(Dialect.STEEL)
