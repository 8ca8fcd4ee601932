# ruff: noqa: E501 - programs in one line
"""The names that a deployed program may choose, and invalid uses that are refused and not ignored."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest

from services.chassis import codec
from services.domain.values import Value
from tests.integration.loki.programs import LUA, SCHEME, Programs
from yggdrasil.loki.v1 import program_pb2 as pb
from yggdrasil.loki.v1 import script_pb2 as sp

BOTH = pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])
NAMES = {
    LUA: """heard = {}
        function note(what) return function() heard[what] = true end end
        after("dim-lamp/2", 0.01, note("timer"))
        on("door/left-open", note("event"))
        subscribe("alarm/fire-drill", note("message"))
        emit("door_left_open", 1)
        publish("alarm.fire_drill", 1)""",
    SCHEME: """(define heard (make-hash-table))
        (define (note what) (lambda () (hash-set! heard what #t)))
        (after 'dim-lamp/2 0.01 (note "timer"))
        (on 'door/left-open (note "event"))
        (subscribe "alarm/fire-drill" (note "message"))
        (emit "door_left_open" 1)
        (publish "alarm.fire_drill" 1)""",
}


@BOTH
async def test_names_with_hyphens_and_slashes_are_read_by_one_rule(programs: Programs, language: Any) -> None:
    await programs.run(f"named_{language}", NAMES[language], language)
    await programs.until(f"named_{language}", "heard", {"timer": True, "event": True, "message": True})
    text = {LUA: "cancel('dim/lamp-2')", SCHEME: "(cancel 'dim/lamp-2)"}[language]
    assert await programs.eval(f"named_{language}", text) is False


HANDLERS = {
    "no argument": "(lambda () (set! heard 'yes))",
    "one argument": "(lambda (value) (set! heard 'yes))",
    "an optional argument": "(lambda* (#:optional value) (set! heard 'yes))",
    "any arguments": "(lambda values (set! heard 'yes))",
}


@pytest.mark.parametrize("number", range(len(HANDLERS)), ids=HANDLERS)
async def test_a_handler_takes_no_argument_or_one(programs: Programs, number: int) -> None:
    source = f"(define heard #f) (every 'tick 0.05 {[*HANDLERS.values()][number]})"
    await programs.run(f"handled{number}", source, SCHEME)
    await programs.until(f"handled{number}", "heard", "yes")


@BOTH
async def test_the_last_handler_of_a_name_is_the_one_that_is_called(programs: Programs, language: Any) -> None:
    source = {
        LUA: "heard = {} on('own', function() heard[#heard + 1] = 1 end) on('own', function() heard[#heard + 1] = 2 end) emit('own')",
        SCHEME: "(define heard '()) (on 'own (lambda () (set! heard (cons 1 heard)))) (on 'own (lambda () (set! heard (cons 2 heard)))) (emit 'own)",
    }[language]
    await programs.run(f"twice_{language}", source, language)
    await programs.until(f"twice_{language}", "heard", [2])


async def refused(programs: Programs, name: str, source: str) -> str:
    """Return the error message of an evaluated text."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await programs.eval(name, source)
    return caught.value.details() or ""


NOT_KEPT: dict[Any, list[str]] = {
    LUA: ["store('k', nil)", "store('k')", "store('k', json.null)"],
    SCHEME: ["(store 'k (if #f #f))", "(store 'k 'null)", "(store 'k *unspecified*)"],
}


@BOTH
async def test_storing_nothing_is_refused_and_keeps_old_value(programs: Programs, language: Any) -> None:
    await programs.run(f"keeper_{language}", {LUA: "store('k', 5)", SCHEME: "(store 'k 5)"}[language], language)
    for source in NOT_KEPT[language]:
        assert "nothing cannot be kept under 'k'" in await refused(programs, f"keeper_{language}", source)
    kept: Value = await programs.eval(f"keeper_{language}", {LUA: "store.load('k')", SCHEME: "(load 'k)"}[language])
    assert kept == 5


BAD: dict[Any, list[tuple[str, str]]] = {
    LUA: [
        ("every('Tick!', 1, print)", "'Tick!' is not a timer name"),
        ("cron('t', '99 * * * *', print)", "the minute '99' is not 0 to 59"),
        ("cron('t', 5, print)", "a schedule is text such as"),
        ("after('t', '1', print)", "a number of seconds, not a string"),
        ("on('Own!', print)", "is not a name of an own event"),
        ("emit('Own!', 1)", "is not a name of an own event"),
        ("subscribe('a.B', print)", "'B' is not a level of a topic"),
        ("ygg.on('failed', print)", "names no event of a device"),
        ("ygg.device('no-such-device'):on('temp0.over', print)", "no-such-device"),
        ("store.b = 6", "store.b cannot be set with ="),
    ],
    SCHEME: [
        ("(every 'Tick! 1 display)", "'Tick!' is not a timer name"),
        ('(cron \'t "99 * * * *" display)', "the minute '99' is not 0 to 59"),
        ("(cron 't 5 display)", "a schedule is text such as"),
        ('(after \'t "1" display)', "a number of seconds, not a string"),
        ("(on 'Own! display)", "is not a name of an own event"),
        ("(emit 'Own! 1)", "is not a name of an own event"),
        ("(subscribe 'a.B display)", "'B' is not a level of a topic"),
        ("(on-any-event 'failed display)", "names no event of a device"),
        ('(with-device "no-such-device" (on-event "temp0.over" display))', "no-such-device"),
        ("(every 't 1 (lambda (a b) a))", "takes 2 arguments; it is called with one or none"),
    ],
}


@BOTH
async def test_invalid_operation_is_refused_with_reason(programs: Programs, language: Any) -> None:
    await programs.run(f"refuser_{language}", {LUA: "x = 1", SCHEME: "(define x 1)"}[language], language)
    messages = [
        (source, says, await refused(programs, f"refuser_{language}", source)) for source, says in BAD[language]
    ]
    assert [(source, got) for source, says, got in messages if says not in got] == []


@BOTH
async def test_a_default_or_an_argument_of_another_type_is_refused(programs: Programs, language: Any) -> None:
    source = {LUA: "log(args.times)", SCHEME: "(log (arg 'times))"}[language]
    name = f"typed_{language}"

    def parameter(default: Value) -> pb.ProgramParameter:
        value = codec.value_to_proto(default) if default is not None else None
        return pb.ProgramParameter(name="times", type=sp.SCRIPT_TYPE_INT, default_value=value)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await programs.load(name, source, language, parameters=[parameter("hot")])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "the default of times is an int, not a string"
    await programs.load(name, source, language, parameters=[parameter(None)])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await programs.deploy(name, arguments={"times": codec.value_to_proto("hot")})
    assert "times is an int, not a string" in (caught.value.details() or "")
    await programs.deploy(name, arguments={"times": codec.value_to_proto(6.0)})
    await programs.until(name, {LUA: "args.times", SCHEME: "(arg 'times)"}[language], 6)
