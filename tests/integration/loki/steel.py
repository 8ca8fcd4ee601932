# ruff: noqa: E501 - programs in a table, one a line
"""The table of the dialect steel in docs/reference/scripting.md: each row, run as script and as program.

A row: its title on the page; a text; its value in a script; its value in a program; the notes of its handler.
`BEFORE` precedes each text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.domain.values import Value

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "scripting.md"
BEFORE = "(define heard '()) (define (note . items) (set! heard (append heard (list items))))"
SAME = object()
"""The value in a program equals the value in a script."""


@dataclass(frozen=True, slots=True)
class Row:
    """`dropped` is the effect listed in a script's result; `heard` is the final list of notes of a program's handler."""

    title: str
    text: str
    script: Value
    program: object = SAME
    dropped: str = ""
    heard: list[Value] | None = None
    messages: bool = False


ROWS = [
    Row("the LED, and its state after the call", "(list (led-on) (led-state) (led-off) (led-state))", [True, True, False, False]),
    Row("all sensors: by kind, and by full name", "(map (lambda (key) (get (read-sensors) key)) '(temperature temp0.celsius humidity hum0.percent battery bat0.percent))", [23.5, 23.5, 41.0, 41.0, 87.0, 87.0]),
    Row("one of them", "(list (get (read-sensors) 'temperature) (hash-ref (read-sensors) 'temperature) (cdr (assoc 'temperature (read-sensors))))", [23.5, 23.5, 23.5]),
    Row("the device", "(let ((info (device-info))) (list (string=? (get info 'device_id) (get info 'id)) (string? (get info 'platform)) (get info 'version)))", [True, True, "1.0.0"]),
    Row("memory; `free` is what a turn may still allocate", "(let ((memory (memory-info))) (<= 1 (get memory 'free) (get memory 'total)))", True),
    Row("JSON and text", "(displayln \"shown\") (list (json-encode '((a . 1))) (get (json-decode \"{\\\"a\\\": 2}\") 'a) (format \"~a°C, ~a%\" 23.5 41))", ['{"a":1}', 2, "23.5°C, 41%"]),
    Row("log, level first", "(log \"info\" \"a\" 1) (log \"debug\" \"b\") (log \"warn\" \"c\") (log \"error\" \"d\") (log-warn \"e\") (log \"f\") (log 100 10)", 2.0),
    Row("sleep, in seconds", "(begin (sleep 0.015) 'slept)", "slept"),
    Row("the time, in seconds since 1970", "(> (current-time) 1.7e9)", True),
    Row("publish", "(mqtt-publish \"alerts/room-1/temperature\" \"23.5\")", True),
    Row("every message of others", "(register-event-handler \"mqtt-message\" (lambda (topic payload) (note topic payload)))", True, dropped="subscription of every message", heard=["commands/stop-now", "on"], messages=True),
    Row("the messages of one topic", "(begin (mqtt-subscribe \"commands/stop-now\" (lambda (topic payload) (note \"one\" topic payload))) 1)", 1, dropped="subscription of commands.stop_now", heard=["one", "commands/stop-now", "on"], messages=True),
    Row("report a value under a key of its own", "(shadow-update \"alert-status\" \"high\")", True, dropped="reported alert-status: high"),
    Row("a timer, once", "(set-timer \"sensor-check\" 0.05 (lambda () (note \"rang\")))", True, dropped="timer sensor_check (after 0.05)", heard=["rang"]),
    Row("cancel one; all", "(begin (set-timer \"a\" 60 note) (set-timer \"b\" 60 note) (list (cancel-timer \"a\") (cancel-timer \"a\") (cancel-all-timers) (cancel-timer \"c\")))", [True, False, True, False]),
    Row("whenever a timer of `set-timer` rings", "(begin (register-event-handler \"timer\" (lambda (name) (note \"timer\" name))) (set-timer \"tick-1\" 0.05))", True, dropped="timer tick_1 (after 0.05)", heard=["timer", "tick-1"]),
    Row("by the clock, cron in UTC", "(schedule \"*/5 * * * *\" (lambda () 1))", True, dropped="timer schedule_1 (cron */5 * * * *)"),
    Row("every so many seconds", "(schedule-interval 0.05 (lambda () (note \"interval\")))", True, dropped="timer interval_1 (every 0.05)", heard=["interval"]),
    Row("a reading that has changed", "(register-event-handler \"sensor\" (lambda (name value) (note name value)))", True, dropped="timer steel_sensors (every 1.0)", heard=["temperature", 23.5]),
    Row("an own event", "(begin (register-event-handler \"too-hot\" (lambda (data) (note \"hot\" (get data 'value)))) (emit-event \"too-hot\" (hash 'value 5)))", True, dropped="the event too_hot", heard=["hot", 5]),
    Row("an event of the device", "(begin (register-event-handler \"led0.failed\" (lambda (event) (note \"failed\" (get (get event 'fields) 'code)))) (register-event-handler \"online\" note) (register-event-handler \"offline\" note))", True, dropped="handler of led0.failed of porch-1", heard=["failed", 7]),
    Row("keep a value", "(store \"last-temperature\" 23.5)", True, dropped="stored last-temperature"),
    Row("read it: the value, or `#f`", "(begin (store \"k\" '(1 2)) (list (load \"k\") (load 'k) (load \"never\") (load \"never\" 5)))", [[1, 2], [1, 2], False, 5], dropped="stored k"),
    Row("forget it; all keys", "(begin (store \"gone\" 1) (let* ((one (delete \"gone\")) (two (delete \"gone\"))) (list one two (member \"gone\" (store-keys)) (delete 2 '(1 2 3)))))", [True, False, False, [1, 3]]),
    Row("fail", "(guard (e (#t (error-object-message e))) (error \"my words\"))", "my words"),
    Row("tables", "(let ((h (hash 'a 1 'b 2))) (list (hash-ref h 'a) (hash-try-get h 'x) (hash-get h 'b) (hash-contains? h 'x) (hash-ref (hash-insert h 'c 3) 'c) (hash-ref h 'c) (hash-contains? '((a . 1)) 'a) (guard (e (#t 'none)) (hash-get h 'x))))", [1, False, 2, False, 3, False, True, "none"]),
    Row("brackets, loops, ranges", "(let ([i 0]) (while (< i 3) (set! i (+ i 1))) (void) [cons i (range 3)])", [3, 0, 1, 2]),
]  # fmt: skip


def page_rows() -> list[list[str]]:
    """Return the rows of the page's table, as cells."""
    page = PAGE.read_text()
    table = page[page.index("| what | steel |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table]
