# ruff: noqa: E501 - scripts in tables, one a line
"""Findings of the linter and, as important, texts without findings."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.loki.lint.check import lint
from services.loki.lint.dialect import Dialect
from services.loki.lint.findings import Finding, Severity
from services.loki.lint.lua_tokens import tokens
from services.loki.lint.names import scheme_names
from services.loki.lint.scheme import MAX_SUGGESTIONS
from services.loki.lint.scheme_reader import read
from services.loki.model import Language
from services.loki.scripts.board import BOARD_ID, CAPABILITIES
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
    ("an operation in __tostring", LUA, "setmetatable({}, {__tostring = function(t) if t then return device:read('temp0.celsius') .. '' end end})", (1, 61, "CANNOT_WAIT_HERE"), "cannot wait within __tostring"),
    ("an operation in a function named so", LUA, "local m = {}\nfunction m.__tostring(t)\n  sleep(1)\nend", (3, 3, "CANNOT_WAIT_HERE"), "keep the text"),
    ("an operation in a test of guard", SCHEME, "(guard (e ((led-state) 1) (else 2)) (car 1))", (1, 12, "CANNOT_WAIT_HERE"), "refused in a test of guard"),
    ("a capability's property set", LUA, "device.led0.brightness = 77", (1, 13, "WRITE"), "write device.led0.brightness(VALUE)"),
    ("a field of a device set", LUA, "device.zone = 1", (1, 8, "WRITE"), "device.zone cannot be set with ="),
    ("the store as a table", LUA, "store.b = 6", (1, 7, "WRITE"), 'write store("b", VALUE)'),
    ("a member of the store set", LUA, "store.load = 6", (1, 7, "WRITE"), "store.load cannot be set"),
    ("an unknown member set", LUA, "ygg.publsh = 6", (1, 5, "WRITE"), "ygg.publsh cannot be set"),
    ("nothing stored", LUA, 'store("k", nil)', (1, 1, "NOTHING"), 'nothing cannot be stored; to forget it write store.delete("k")'),
    ("a key and nothing stored", LUA, 'store("k")', (1, 1, "NOTHING"), "nothing cannot be stored"),
    ("a timer's name", LUA, 'every("Tick!", 1, print)', (1, 7, "NAME"), "'Tick!' is not a timer name"),
    ("a timer's name behind ygg", LUA, 'ygg.after("Tick!", 1, print)', (1, 11, "NAME"), "'Tick!' is not a timer name"),
    ("a topic", LUA, 'publish("a.B", 1)', (1, 9, "NAME"), "'B' is not a level of a topic"),
    ("a topic heard", LUA, 'subscribe("a..b", print)', (1, 11, "NAME"), "'' is not a level of a topic"),
    ("an own event", LUA, 'emit("Own!", 1)', (1, 6, "NAME"), "is not a name of an own event"),
    ("an own event heard", LUA, 'on("Own!", print)', (1, 4, "NAME"), "is not a name of an own event"),
    ("an event without its capability", LUA, 'ygg.on("over", print)', (1, 8, "NAME"), "'over' names no event of a device"),
    ("an event of the default device", LUA, 'on("temp0.over", print)', (1, 4, "NOT_IN_CONTRACT"), "temp0 has no event over"),
    ("an event of any device", LUA, 'ygg.on("temp0.over", print)', (1, 8, "NOT_IN_CONTRACT"), "temp0 has no event over"),
    ("an event with a slash", LUA, 'on("led0/failed", print)', (1, 4, "NAME"), "the device's is led0.failed"),
    ("a time that is too short", LUA, 'every("t", 0.001, print)', (1, 12, "TIME"), "0.05 s to a year"),
    ("a time before now", LUA, 'after("t", -1, print)', (1, 12, "TIME"), "0 s to a year, not -1 s"),
    ("a time that is text", LUA, 'after("t", "1", print)', (1, 12, "TIME"), "a number of seconds, not a string"),
    ("no handler", LUA, 'every("t", 1)', (1, 1, "HANDLER"), "every takes a function as its third argument"),
    ("an invalid handler", LUA, 'subscribe("t", nil)', (1, 1, "HANDLER"), "subscribe takes a function as its second argument"),
    ("a second handler", LUA, 'on("own", print)\non("own", print)', (2, 4, "SECOND"), "a second handler of own replaces the one of line 1"),
    ("a second timer", LUA, 'every("t-1", 1, print)\nafter("t_1", 1, print)', (2, 7, "SECOND"), "a second timer t_1 replaces the one of line 1"),
    ("a second subscription", LUA, 'subscribe("a/b", print)\nsubscribe("a.b", print)', (2, 11, "SECOND"), "replaces the one of line 1"),
    ("a method with a dot", LUA, 'device.read("temp0.celsius")', (1, 8, "METHOD"), "write device:read(...), with a colon"),
    ("a property with a colon", LUA, "device.led0:brightness(5)", (1, 13, "METHOD"), "write device.led0.brightness(...), with a dot"),
    ("a property not called", LUA, "return device.temp0.celsius > 20", (1, 21, "NOT_CALLED"), "write device.temp0.celsius() for its value"),
    ("a property not called in a text", LUA, 'log("t: " .. device.temp0.celsius)', (1, 27, "NOT_CALLED"), "temp0.celsius is a function"),
    ("a whole double", LUA, "device.led0.brightness(400.0)", (1, 24, "ARGUMENT_NOT_IN_CONTRACT"), "0 to 100"),
    ("a schedule", LUA, 'cron("a", "0 */5 * * *", print)', (1, 11, "CRON"), '"0 */5 * * *" means every five hours. Every five minutes is "*/5 * * * *".'),
    ("an invalid schedule", LUA, 'ygg.cron("a", "61 * * * *", print)', (1, 15, "CRON"), "61"),
    ("after a long comment", LUA, "--[[ one\ntwo ]] local s = [==[\n]] ]==]\nfoo()", (4, 1, "UNDEFINED"), "foo"),
    ("a package", LUA, "-- @depends base 1.0.0\nlocal u = require('units')", (2, 19, "NOT_DECLARED"), "write @depends units VERSION"),
    ("a package", SCHEME, "; @depends base\n(import (prefix (package units) u:))", (2, 9, "NOT_DECLARED"), "write @depends units VERSION"),
    ("beside the exports of a package", SCHEME, "; @depends units\n(import (only (package units) f))\n(g (f 1))", (3, 2, "UNDEFINED"), "g is"),
    ("beside a prefix", SCHEME, "; @depends units\n(import (prefix (package units) u:))\n(g (u:f 1))", (3, 2, "UNDEFINED"), "g is"),
    ("an undefined name", SCHEME, "(define x 1)\n(+ x yy)", (2, 6, "UNDEFINED"), "yy is defined nowhere"),
    ("an undefined call", SCHEME, "(foo)", (1, 2, "UNDEFINED"), "foo"),
    ("a name that this Scheme lacks", SCHEME, '(system "id")', (1, 2, "UNDEFINED"), "system"),
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
    ("a timer's name", SCHEME, "(set-timer 'Tick! 1 display)", (1, 12, "NAME"), "'tick!' is not a timer name"),
    ("a timer in the past", SCHEME, "(set-timer 'Tick -1 display)", (1, 18, "TIME"), "0 s to a year"),
    ("a topic", SCHEME, '(mqtt-publish "a//b" 1)', (1, 15, "NAME"), "'' is not a level of a topic"),
    ("a topic without its message", SCHEME, '(mqtt-publish "a")', (1, 1, "ARITY"), "mqtt-publish takes 2 arguments, not 1"),
    ("an event of the device", SCHEME, '(register-event-handler "temp0.over" (lambda (e) e))', (1, 25, "NOT_IN_CONTRACT"), "temp0 has no event over"),
    ("a schedule", SCHEME, '(cron "a" "0 */5 * * *" display)', (1, 11, "CRON"), "every five hours"),
    ("too few arguments", SCHEME, "(define (f a b) (list a b))\n(f 1)", (2, 1, "ARITY"), "f takes 2 arguments, not 1"),
    ("too many arguments", SCHEME, "(define (f) 1)\n(f 1)", (2, 1, "ARITY"), "f takes no arguments, not 1"),
    ("an operation of the host", SCHEME, "(sleep)", (1, 1, "ARITY"), "sleep takes 1 argument, not none"),
    ("a timer without a handler", SCHEME, "(after 't 1)", (1, 1, "ARITY"), "after takes 3 arguments, not 2"),
    ("nothing stored", SCHEME, "(store 'k *unspecified*)", (1, 1, "NOTHING"), "write (store-delete KEY)"),
    ("null stored", SCHEME, "(store 'k 'null)", (1, 1, "NOTHING"), "nothing cannot be stored"),
    ("a key stored", SCHEME, "(store 'k)", (1, 1, "ARITY"), "store takes 2 arguments, not 1"),
    ("a timer's name", SCHEME, "(every 'Tick! 1 display)", (1, 8, "NAME"), "'Tick!' is not a timer name"),
    ("a topic", SCHEME, '(publish "a.B" 1)', (1, 10, "NAME"), "'B' is not a level of a topic"),
    ("an own event", SCHEME, "(on 'Own! display)", (1, 5, "NAME"), "is not a name of an own event"),
    ("an event without its capability", SCHEME, '(on-event "over" display)', (1, 11, "NAME"), "'over' names no event of a device"),
    ("an event of any device", SCHEME, "(on-any-event 'temp0.over display)", (1, 15, "NOT_IN_CONTRACT"), "temp0 has no event over"),
    ("a time that is too short", SCHEME, "(every 't 0.001 display)", (1, 11, "TIME"), "0.05 s to a year"),
    ("a time that is text", SCHEME, "(after 't \"1\" display)", (1, 11, "TIME"), "a number of seconds, not a string"),
    ("an invalid handler", SCHEME, "(after 't 1 'tick)", (1, 13, "HANDLER"), "is a procedure"),
    ("a handler of two arguments", SCHEME, '(subscribe "a" (lambda (topic value) value))', (1, 16, "HANDLER"), "one argument or none, not 2"),
    ("a second handler", SCHEME, "(on 'own display)\n(on \"own\" display)", (2, 5, "SECOND"), "a second handler of own replaces the one of line 1"),
    ("a second timer", SCHEME, "(every 't-1 1 display)\n(after 't_1 1 display)", (2, 8, "SECOND"), "a second timer t_1 replaces the one of line 1"),
    ("after a nested comment", SCHEME, "#| a #| b |# \n c |# #;(d\n) (foo)", (3, 4, "UNDEFINED"), "foo"),
]  # fmt: skip

FINE: list[tuple[str, Language, str]] = [
    ("a __tostring without host calls", LUA, "setmetatable({}, {__tostring = function(t) return t.id .. device.id end}) sleep(1)"),
    ("operations in the body of a guard clause", SCHEME, "(guard (e ((error-object? e) (led-off))) (led-on) (car 1))"),
    ("a package", LUA, "-- Keep warm.\n-- @depends units 1.0.0\nlocal u = require 'units' return u"),
    ("a package", SCHEME, ";; @depends units 1.0.0\n(import (package units)) (f 1)"),
    ("definitions of all kinds", LUA, "local a <const>, b = 1, 2 local function f(c, ...) d, e = c, a return ... end for i, v in pairs({}) do f(i, v) end function g.h:i() end g = {} x = 1 return b, d, e, x, g"),
    ("keys of tables", LUA, "return { one = 1, two = { three = 3 } , ['four'] = 4 }"),
    ("fields and methods", LUA, 'local t = {} t.a = 1 t.b.c = 2 return t.a, t:foo(), ("x"):rep(2)'),
    ("functions in tables", LUA, "local t = { f = function(p) q = p return q end } return t"),
    ("labels", LUA, "::top:: goto top"),
    ("the whole of ygg", LUA, 'ygg.log("x") for _, d in ipairs(ygg.devices{has = "actuator.led"}) do d:read("x.y") d.anything.at_all() end'),
    ("another device", LUA, 'ygg.device("other").led9.on() local other = ygg.device("x") other:call("y.z")'),
    ("a variable named device", LUA, "local device = {} device.foo() device:bar()"),
    ("a variable named like a library", LUA, "local string = {} string.split()"),
    ("members of the contract", LUA, 'device.led0.on() device.led0.brightness(40) device.led0.blink{times = 3, period_ms = 100} device:write("led0.on", true) set_led0(true) device.read_temp0() device:on("online", print)'),
    ("names by the rule", LUA, 'every("a-b/c", 0.5, print) on("x/y", print) emit("x-y", 1) publish("a/b-c.d", 1) cancel("a") ygg.on("led0/failed", print) on("led0.failed", print)'),
    ("handlers in turn", LUA, 'if x1 then on("a", print) else on("a", note) end x1 = 1 function note() on("a", print) after("t", 1, note) end after("t", 1, note) every("u", 1, make(1)) function make() end'),
    ("methods as values", LUA, 'pcall(device.read, device, "temp0.celsius") pcall(device.led0.blink, {times = 2}) device.read(device, "temp0.celsius") local f = device.led0.on f() return device.temp0.celsius() > 20'),
    ("a library that is extended", LUA, "function string.split(s) return s end string.trim = 1 return string.split('x'), string.trim"),
    ("a member that is replaced", LUA, "log.info = print json.encode = nil"),
    ("a whole double", LUA, "device.led0.brightness(40.0)"),
    ("names that are joined", LUA, 'local name = "on" device:write("led0." .. name, true) device:read("led0." .. name) every("t" .. name, 1, print) publish("A" .. name, 1)'),
    ("comments and strings", LUA, '-- foo()\nlocal s = "foo() \\" bar()" return s, [[baz()]]'),
    ("a shebang", LUA, "#!/usr/bin/env lua\nreturn 1"),
    ("definitions of all kinds", SCHEME, "(define x 1) (define (f a #:optional b . rest) (list a b rest)) (define-values (p q) (values 1 2)) (define-record-type pt (mk a1) pt? (a1 pt-a)) (let loop ((i 0)) (if (< i x) (loop (+ i 1)))) (let-values (((u v) (values 1 2))) (list u v p q (mk 1) pt-a)) (do ((j 0 (+ j 1))) ((= j 2) j)) (case-lambda ((m) m) ((m . n) n)) (guard (e (#t e)) 1) (receive (r . s) (values 1 2) (list r s))"),
    ("arguments of all kinds", SCHEME, "(define (f a) a) (f 1) (define* (g a #:optional b) (list a b)) (g 1) (g 1 2) (define (h . a) a) (h) (h 1 2) (define (k a) a) (set! k list) (k 1 2) (define (m a) a) (let ((m list)) (m 1 2)) (apply f '(1))"),
    ("names by the rule", SCHEME, "(every 'a-b/c 0.5 (lambda () 1)) (on 'x/y display) (emit 'x-y) (publish \"a/b-c.d\" 1) (cancel \"a\") (on-any-event 'led0/failed display) (every even? '(2 4))"),
    ("handlers of all kinds", SCHEME, "(define (h) 1) (after 't 1 h) (after 'u 1 (lambda args 1)) (after 'v 1 (lambda (a) a)) (after 'w 1 (lambda* (#:optional a) a))"),
    ("names of the dialect steel", SCHEME, '(set-timer "Blink/LED" 1 (lambda (name) name)) (mqtt-publish "Home/Temp-1" 1) (register-event-handler "mqtt-message" (lambda (topic payload) payload)) (register-event-handler "led0.failed" display)'),
    ("procedures named like operations", SCHEME, "(define (store k) k) (store 1) (define (publish . x) x) (publish \"A\")"),
    ("macros", SCHEME, "(define-syntax swap! (syntax-rules () ((_ a b) (let ((tmp a)) (set! a b) (set! b tmp))))) (define one 1) (define two 2) (swap! one two) (define-syntax while (syntax-rules () ((_ c body ...) (let lp () (when c body ... (lp)))))) (while #f anything)"),
    ("quoted data", SCHEME, "(define temp 1) '(a b temp) '((a . 1) (b . \"x\") (c . d)) 'temp (list temp)"),
    ("case", SCHEME, "(case 3 ((a b) 1) ((3) 2) (else => (lambda (x) x)))"),
    ("another device", SCHEME, '(with-device "other" (property-read "foo.bar") (read-nothing))'),
    ("members of the contract", SCHEME, "(led-on) (led-on \"led0\") (read-temp0-celsius) (set-led0! #t) (call \"led0.blink\" '((times . 3))) (property-write! \"led0.brightness\" 40) (on-event \"online\" display)"),
    ("imports", SCHEME, "(import (scheme base) (only (srfi 1) fold)) (fold + 0 '(1 2))"),
    ("square brackets", SCHEME, "(let ([a 1] [b 2]) (cond [(< a b) a] [else b]))"),
    ("characters", SCHEME, "(list #\\( #\\a #\\space #\\x41 \"a;b\" '|a b|)"),
]  # fmt: skip


def brief(finding: Finding) -> tuple[int, int, str]:
    return finding.line, finding.column, finding.rule


@pytest.mark.parametrize(
    ("language", "source", "where", "says"), [f[1:] for f in FOUND], ids=[f"{f[1].value}-{f[0]}" for f in FOUND]
)
def test_finding_names_position_of_fault(
    language: Language, source: str, where: tuple[int, int, str], says: str
) -> None:
    found = lint(source, language, PORCH)
    assert [brief(finding) for finding in found] == [where]
    assert says in found[0].message


@pytest.mark.parametrize(("language", "source"), [f[1:] for f in FINE], ids=[f"{f[1].value}-{f[0]}" for f in FINE])
def test_valid_script_has_no_findings(language: Language, source: str) -> None:
    assert lint(source, language, PORCH) == []


@pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])
def test_without_a_target_nothing_is_held_against_a_contract(language: Language) -> None:
    source = "device.led9.on()" if language is LUA else '(property-read "nope.nope") (read-nope)'
    assert lint(source, language, {}) == []


def test_name_known_to_one_target_is_not_a_finding() -> None:
    assert lint("device.led0.on()", LUA, FLEET) == []
    assert [f.rule for f in lint("device.siren0.on()", LUA, FLEET)] == ["NOT_IN_CONTRACT"]


@pytest.mark.parametrize(
    "source", ["(", ")", "'", "#|", '"', "#", "(a . ", "|", "[[", "--[[", "'a", "{", "\x00", "((((" * 3000, "🙂" * 10]
)
@pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])
def test_invalid_text_does_not_break_the_linter(language: Language, source: str) -> None:
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


def test_only_so_many_names_get_a_suggestion() -> None:
    found = lint("".join(f"(led-state{n:03})\n" for n in range(500)), SCHEME, {})
    assert len(found) == 500
    assert sum("Did you mean" in finding.message for finding in found) == MAX_SUGGESTIONS


EXAMPLES = [*Path(__file__).resolve().parents[3].glob("examples/**/*.lua")]
EXAMPLES += Path(__file__).resolve().parents[3].glob("examples/**/*.scm")


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: str(file.name))
def test_an_example_has_no_findings_but_notes(file: Path) -> None:
    language = LUA if file.suffix == ".lua" else SCHEME
    found = lint(file.read_text(), language, {BOARD_ID: CAPABILITIES})
    assert [finding.message for finding in found if finding.severity is not Severity.NOTE] == []
