# ruff: noqa: E501 - scripts in tables, one a line
"""Mistakes of beginners, one per row: the source, the line of the error, and the expected message.

`says` are parts of the message and of its hint: the fault and the correction.
"""

from __future__ import annotations

from typing import NamedTuple

from services.loki.model import Language

LUA, SCHEME = Language.LUA, Language.SCHEME


class Mistake(NamedTuple):
    """`line` is 0 if a call in tail position leaves no line."""

    name: str
    language: Language
    source: str
    line: int
    says: tuple[str, ...]


MISTAKES = [
    # Members.
    Mistake("a property set with =", LUA, "log('x')\ndevice.led0.brightness = 77", 2, ("led0.brightness is a property; it cannot be set with =", "device.led0.brightness(77)")),
    Mistake("an action set with =", LUA, "device.led0.blink = 3", 1, ("led0.blink is an action; it cannot be set with =",)),
    Mistake("a member set that is not there", LUA, "device.led0.brightnes = 3", 1, ("no member brightnes", "It has blink, brightness, off, on, state")),
    Mistake("a field of a device", LUA, "device.zone = 'hall'", 1, ("device.zone cannot be set with =", 'device:write("CAPABILITY.PROPERTY", value)')),
    Mistake("the id of a device", LUA, "local d = ygg.device('porch-1')\nd.id = 'cellar-1'\nd:read('temp0.celsius')", 3, ("the id of a device cannot be changed", 'ygg.device("ID")')),
    Mistake("the store as a table", LUA, "\nstore.b = 6", 2, ("store.b cannot be set with =", 'Write store("b", 6)')),
    Mistake("the store emptied as a table", LUA, "store.b = nil", 1, ('Write store.delete("b")',)),
    Mistake("the store read as a table", LUA, "local n = store.count", 1, ("store has no count; it has delete, keys, load, save", 'store.load("count")')),
    Mistake("an operation misspelt", LUA, "ygg.pubish('a', 1)", 1, ("ygg has no pubish; it has", "publish")),
    Mistake("a level of the log misspelt", LUA, "log.eror('x')", 1, ("log has no eror; it has debug, error, info, warn",)),
    Mistake("a member of json misspelt", LUA, "local t = json.parse('{}')", 1, ("json has no parse; it has array, decode, encode, null",)),
    Mistake("a capability misspelt", LUA, "\ndevice.led.on()", 2, ("porch-1 has no capability led", "It has hum0, led0, memo0, temp0")),
    Mistake("a property called with a colon", LUA, "device.led0:brightness(50)", 1, ("led0.brightness is a property and not a method", "device.led0.brightness(...), with a dot")),
    Mistake("an action called with a colon", LUA, "device.led0:blink{times = 2}", 1, ("led0.blink is an action and not a method", "with a dot")),
    Mistake("a method called with a dot", LUA, "device.read('temp0.celsius')", 1, ("read is a method of a device, called without one", "device:read(...), with a colon")),
    Mistake("a property that is not called", LUA, "return device.temp0.celsius", 1, ("a function has no JSON", "called with ()")),
    Mistake("a path without a dot", LUA, "device:read('temp0')", 1, ('"temp0" names no property', "CAPABILITY.NAME, such as led0.on")),
    Mistake("a path that is no text", LUA, "device:read(5)", 1, ("a property is named by a string", "not by a number")),
    Mistake("arguments that are no table", LUA, "device.led0.blink(3)", 1, ("arguments are a table, such as {times = 3}, not a number",)),
    Mistake("an argument missing", LUA, "device.led0.blink()", 1, ("led0.blink requires times", "times (int, 1 to 20)")),
    Mistake("a fraction for an int", LUA, "device.led0.brightness(80 / 3)", 1, ("(double), the contract requires int, 0 to 100 %", "Round it")),
    Mistake("text for a number", LUA, "device.led0.brightness('40')", 1, ("led0.brightness is 40 (string), the contract requires int",)),
    Mistake("a property that cannot be written", LUA, "device:write('temp0.celsius', 3)", 1, ("celsius",)),
    Mistake("a device that is not there", LUA, "ygg.device('attic-1'):read('temp0.celsius')", 1, ("there is no device attic-1", "ygg device ls")),
    # Names, times and handlers.
    Mistake("an event that the contract has not", LUA, "\ndevice:on('temp0.over', print)", 2, ("temp0 has no event over", "ygg device show porch-1")),
    Mistake("an event of no capability", LUA, "device:on('led9.failed', print)", 1, ("porch-1 has no capability led9",)),
    Mistake("an event without its capability", LUA, "ygg.on('failed', print)", 1, ("'failed' names no event of a device", "CAPABILITY.NAME, such as temp0.over, or online, offline")),
    Mistake("a timer with a bad name", LUA, "every('Tick!', 1, print)", 1, ("'Tick!' is not a timer name", "1 to 32 of a-z, 0-9 and _")),
    Mistake("a timer without a name", LUA, "every(1, print)", 1, ("a timer is named by a string, not by a number",)),
    Mistake("a timer too fast", LUA, "every('t', 0.001, print)", 1, ("a timer takes 0.05 s to a year, not 0.001 s",)),
    Mistake("a timer with text for seconds", LUA, "after('t', '5', print)", 1, ("a timer takes a number of seconds, not a string",)),
    Mistake("an invalid schedule", LUA, "cron('t', 'noon', print)", 1, ("'noon' is not a cron expression: it has 1 field, not 5", "minute hour day-of-month")),
    Mistake("a schedule out of bounds", LUA, "cron('t', '99 * * * *', print)", 1, ("the minute '99' is not 0 to 59",)),
    Mistake("a handler that was called", LUA, "every('t', 1, time() and nil)", 1, ("the handler of the timer t is a nil, not a function", "without parentheses")),
    Mistake("a topic with a bad level", LUA, "publish('Alarm', 1)", 1, ("'Alarm' is not a level of a topic", "a-z, 0-9 and _")),
    # Values and errors.
    Mistake("a list with a hole", LUA, "local t = {}\nt[1] = 1\nt[3] = 3\npublish('x', {readings = t})", 4, ("in .readings: a list has [3] but not [2]", "json.null")),
    Mistake("a list with a hole as the result", LUA, "local t = {1, 2}\nt[5] = 3\nreturn t", 3, ("a list has [5] but not [3]",)),
    Mistake("a list with names", LUA, "publish('x', {1, 2, zone = 'hall'})", 1, ("a table has [1] and zone; it is a list or a map, not both",)),
    Mistake("a table raised", LUA, "\nerror({code = 5, why = 'cold'})", 2, ('{code = 5, why = "cold"}',)),
    Mistake("nothing raised", LUA, "error()", 1, ("error(nil)",)),
    Mistake("invalid JSON", LUA, "local t = json.decode('{\"a\": tru}')", 1, ("not JSON, line 1, byte 7",)),
    Mistake("JSON of nothing", LUA, "local t = json.decode(args.text)", 1, ("json.decode takes a string, not a nil",)),
    Mistake("a name that is not defined", LUA, "\nblinkk()", 2, ("attempt to call a nil value (global 'blinkk')",)),
    Mistake("a text joined with nothing", LUA, "local t\nlog('temp ' .. t)", 2, ("attempt to concatenate a nil value (local 't')",)),
    Mistake("a comparison with one =", LUA, "local x = 1\nif x = 5 then log(x) end", 2, ("'then' expected near '='", "A comparison is written ==")),
    Mistake("an increment", LUA, "local x = 1\nx++", 2, ("syntax error near '+'", "write x = x + 1")),
    Mistake("not equal as elsewhere", LUA, "if 1 != 2 then end", 1, ("near '!'", "not equal ~=")),
    Mistake("and as elsewhere", LUA, "if true && true then end", 1, ("near '&'", "The words are and, or, not")),
    Mistake("an action that is not called", LUA, "device.led0.on\nlog('x')", 2, ("syntax error near 'log'", "a function is called with ()")),
    Mistake("a loop without its end", LUA, "for i = 1, 3 do\n  log(i)\n", 3, ("'end' expected (to close 'for' at line 1)",)),
    Mistake("a text without its end", LUA, "local s = \"abc\nlog(s)", 1, ("unfinished string", "A text ends on its line")),
    Mistake("a count as a list", LUA, "for i in 1, 3 do log(i) end", 1, ("for iterator", "for i = 1, 10 do")),
    Mistake("a list that is not there", LUA, "for _, v in pairs(args.list) do log(v) end", 1, ("table expected, got nil", "ipairs(t or {})")),
    Mistake("an argument that was not given", LUA, "local n = args.count + 1", 1, ("attempt to perform arithmetic on a nil value (field 'count')",)),
    Mistake("a file", LUA, "io.open('x')", 1, ("(global 'io')", "Scripts have no files")),
    Mistake("a process", LUA, "os.execute('ls')", 1, ("(field 'execute')", "Scripts have no processes")),
    Mistake("a query in text", LUA, "ygg.devices('zone=hall')", 1, ('ygg.devices takes a table, such as {has = "actuator.led"}',)),
    Mistake("a query by a label", LUA, "ygg.devices{zone = 'hall'}", 1, ("a query has no zone; it has has, selector and online",)),
    # Scheme.
    Mistake("a negative index", SCHEME, "\n(list-ref (list 1 2) -1)", 2, ("list-ref: -1 is out of range",)),
    Mistake("an index beyond a text", SCHEME, "(substring \"abc\" 5)", 1, ("5 is out of range, 0 to 3 are allowed",)),
    Mistake("an if with three branches", SCHEME, "\n(if (> 1 2) 1 2 3)", 2, ("if is written (if TEST THEN ELSE), not (if (> 1 2) 1 2 3)",)),
    Mistake("a let with one pair of parentheses", SCHEME, "(let (x 1) x)", 1, ("let is written (let ((NAME VALUE) ...) BODY ...), not (let (x 1) x)",)),
    Mistake("a cond without a result", SCHEME, "(cond ((> 1 2) 1) (else))", 1, ("cond is written (cond (TEST RESULT ...)",)),
    Mistake("a variable that is not defined set", SCHEME, "(set! counter 1)", 1, ("counter is not a variable of this script; define it first",)),
    Mistake("an invalid number", SCHEME, "\n(+ 1 (string->number \"abc\"))", 2, ("+: argument 1 is #f, which it does not take",)),
    Mistake("a procedure to go through a list with", SCHEME, "(for-each 1 '(2))", 1, ("for-each: an argument is 1, which it does not take",)),
    Mistake("values that are missing", SCHEME, "(let-values (((a b) (values 1))) a)", 1, ("2 values are expected here",)),
    Mistake("a display of two things", SCHEME, "(display \"a\" \"b\")", 1, ('display: argument 2 is "b", which it does not take',)),
    Mistake("an alist with a list for a pair", SCHEME, "(call \"led0.blink\" '(times 3))", 1, ("arguments are a map from names to values, not a list",)),
    Mistake("an error without a message", SCHEME, "(error)", 1, ("error takes at least 1 argument, not none",)),
    Mistake("an alist changed as a table", SCHEME, "(hash-set! '((a . 1)) 'a 1)", 1, ("hash-set!: argument 1 is ((a . 1)), not a hash table",)),
    Mistake("too few arguments", SCHEME, "(define (f a b)\n  (list a b))\n(list (f 1))", 3, ("f takes 2 arguments, not 1",)),
    Mistake("too many arguments", SCHEME, "(define (f a)\n  (list a))\n(list (f 1 2))", 3, ("f takes 1 argument, not 2",)),
    Mistake("optional arguments", SCHEME, "(define* (f a #:optional b)\n  (list a b))\n(list (f))", 3, ("f takes 1 or 2 arguments, not none",)),
    Mistake("a rest argument", SCHEME, "(define (f a . b)\n  (list a b))\n(list (f))", 3, ("f takes at least 1 argument, not none",)),
    Mistake("a procedure without a name", SCHEME, "(map\n  (lambda (a b) a)\n  '(1 2))", 1, ("takes 2 arguments, not 1",)),
    Mistake("a builtin", SCHEME, "\n(list (car '(1) 2))", 2, ("car takes 1 argument, not 2",)),
    Mistake("an operation of the host", SCHEME, "\n(list (sleep))", 2, ("sleep takes 1 argument, not none",)),
    Mistake("an LED with too much", SCHEME, "(led-on \"led0\" #t)", 1, ("led-on takes at most 1 argument, not 2",)),
    Mistake("a name of the contract", SCHEME, "(list (read-temp0 \"celsius\"))", 1, ("read_temp0 takes no arguments, not 1",)),
    Mistake("a value that is not set", SCHEME, "(list (set-led0!))", 1, ("set_led0 takes 1 argument, the value, not 0",)),
    Mistake("a timer without its handler", SCHEME, "(list (after 'x 5))", 1, ("after takes 3 arguments, not 2",)),
    Mistake("a repeating timer without its handler", SCHEME, "(list (every 'x 5))", 1, ("every takes a name, seconds and a procedure",)),
    Mistake("a wrong type", SCHEME, "(define (f x)\n  (+ 1 (car x)))\n(f 5)", 2, ("car: argument 1 is 5, not a pair",)),
    Mistake("text for a number", SCHEME, "(+ 1 \"2\")", 1, ('+: argument 1 is "2", which it does not take',)),
    Mistake("a number for text", SCHEME, "(string-append \"t \" 5)", 1, ("string-append: an argument is 5, not a string",)),
    Mistake("an index out of range", SCHEME, "(vector-ref (vector 1 2) 2)", 1, ("vector-ref: argument 2 out of range: 2",)),
    Mistake("a division by zero", SCHEME, "\n(/ 1 0)", 2, ("/: division by zero",)),
    Mistake("a modulo by zero", SCHEME, "(modulo 5 0)", 1, ("modulo: division by zero",)),
    Mistake("a call of a value that is not a procedure", SCHEME, "(define temp 20)\n(list (temp))", 2, ("20 is called and is not a procedure",)),
    Mistake("a name that is not defined", SCHEME, "\n(blinkk)", 2, ("blinkk is not defined",)),
    Mistake("format with too few values", SCHEME, "(format #f \"~a is ~a\" 1)", 1, ('format: "~a is ~a" wants 2 values, 1 is given',)),
    Mistake("format without its text", SCHEME, "(format 5)", 1, ("format takes #f, #t or a port, a text, and values",)),
    Mistake("a record of another kind", SCHEME, "(define-record-type point (make x) point? (x point-x))\n(list (point-x 3))", 2, ("argument 1 is 3, not a record",)),
    Mistake("an error with irritants", SCHEME, "\n(error \"too hot:\" 80 'hall)", 2, ("too hot: 80 hall",)),
    Mistake("an error with a procedure", SCHEME, "(error \"bad:\" (lambda (x) x))", 1, ("bad: #<procedure at",)),
    Mistake("something raised", SCHEME, "(raise 'boom)", 1, ("raised boom",)),
    Mistake("a handler that returns", SCHEME, "(with-exception-handler (lambda (e) 5)\n  (lambda () (+ 1 (raise 'boom))))", 2, ("a handler returned from an error", "guard")),
    Mistake("a procedure as the result", SCHEME, "(define (f)\n  (lambda (x) x))\n(f)", 3, ("the result of the script is not a value: ", "#<procedure")),
    Mistake("a procedure published", SCHEME, "(publish \"x\" car)", 1, ("this is not a value: #<procedure car (_)>",)),
    Mistake("a key that is not there", SCHEME, "(hash-get (hash 'a 1) 'b)", 1, ("no such key: b",)),
    Mistake("invalid JSON", SCHEME, "(json-decode \"{\\\"a\\\": tru}\")", 1, ("not JSON, line 1, character 7",)),
    Mistake("a syntax that is not so", SCHEME, "\n(if)", 2, ("if is written (if TEST THEN ELSE), not (if)",)),
    Mistake("a binding without a value", SCHEME, "(let ((x 1) (y)) x)", 1, ("let is written (let ((NAME VALUE) ...) BODY ...), not (let ((x 1) (y)) x)",)),
    Mistake("a parenthesis missing", SCHEME, "(list 1\n  (list 2)", 1, ("this ( is never closed",)),
    Mistake("a parenthesis too many", SCHEME, "(list 1)\n)", 2, ("a ) that closes nothing",)),
    Mistake("a number too large", SCHEME, "\n(list 1e400)", 2, ("1e400 is out of the range of a double",)),
    Mistake("an event that the contract has not", SCHEME, "\n(on-event \"temp0.over\" display)", 2, ("temp0 has no event over", "ygg device show porch-1")),
    Mistake("a capability misspelt", SCHEME, "(property-read \"led9.on\")", 1, ("porch-1 has no capability led9",)),
    Mistake("a path without a dot", SCHEME, "(property-read \"temp0\")", 1, ('"temp0" names no property', "CAPABILITY.NAME, such as led0.on")),
    Mistake("a timer with a bad name", SCHEME, "(every 'Tick! 1 display)", 1, ("'Tick!' is not a timer name",)),
    Mistake("a timer without a name", SCHEME, "(after 5 1 display)", 1, ("a timer is named by a string or a symbol, not by 5",)),
    Mistake("a timer in the past", SCHEME, "(after 't -1 display)", 1, ("a timer takes 0 s to a year, not -1 s",)),
    Mistake("a schedule out of bounds", SCHEME, "(cron 't \"99 * * * *\" display)", 1, ("the minute '99' is not 0 to 59",)),
    Mistake("a handler that is no procedure", SCHEME, "(every 't 1 5)", 1, ("the handler of the timer t is 5, not a procedure",)),
    Mistake("a handler with two arguments", SCHEME, "(subscribe \"alarm\" (lambda (topic value) value))", 1, ("the handler of the topic alarm takes 2 arguments; it is called with one or none",)),
    Mistake("an import of what is not there", SCHEME, "(import (only (srfi 1) fold lset-union))\n(lset-union eq? '(1) '(2))", 1, ("(srfi 1) has no lset-union here",)),
    Mistake("a library of which a name is missing", SCHEME, "(import (srfi 1))\n(lset-union eq? '(1) '(2))", 1, ("(srfi 1) has no lset-union here",)),
    Mistake("a library that is not there", SCHEME, "(import (scheme file))\n1", 1, ("this library is not for scripts",)),
    Mistake("a library under other names", SCHEME, "(import (prefix (scheme base) b:))\n1", 1, ("prefix, rename and except are for packages",)),
]  # fmt: skip
