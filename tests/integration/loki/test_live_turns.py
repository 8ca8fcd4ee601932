"""A worker of many programs, without the service: blame for errors, late answers, and leftovers of a turn."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.domain.values import Value
from services.loki.adapters.languages import LuaCommand, SchemeCommand
from services.loki.adapters.live_worker import LiveWorker
from services.loki.errors import ScriptError
from services.loki.model import Language, Level
from services.loki.programs.errors import WorkerLostError
from services.loki.programs.ports import TurnDone, TurnEnd
from tests.fixtures.wait import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
COUNT = {
    Language.LUA: "n = 0 every('x', 60, function() n = n + 1 end) every('loop', 60, function() while true do end end)",
    Language.SCHEME: "(define n 0) (every 'x 60 (lambda (_) (set! n (+ n 1)))) (every 'loop 60 (lambda (_) (let l () (l))))",  # noqa: E501
}


class Host:
    """Answers every request with an empty value; a `load` waits for the event `stubborn`."""

    waiting_for = ""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.stubborn = asyncio.Event()

    async def ask(self, operation: str, arguments: Sequence[Value]) -> Value:
        self.asked.append(operation)
        if operation == "load":
            try:
                await self.stubborn.wait()
            except asyncio.CancelledError:
                return [1]  # as wait_for of Python 3.11, which hides a cancellation if the answer comes with it
        return None

    def log(self, level: Level, text: str) -> None:
        pass

    def spend_output(self, size_bytes: int) -> None:
        pass


@pytest_asyncio.fixture(loop_scope="module", params=list(Language), ids=lambda language: language.value)
async def worker(request: Any, scheme_cache: Path) -> AsyncIterator[tuple[Language, LiveWorker]]:
    language: Language = request.param
    command: Any = LuaCommand() if language is Language.LUA else SchemeCommand(scheme_cache)
    started = await LiveWorker.start(await command())
    yield language, started
    await started.close()


async def start(worker: LiveWorker, program: int, source: str) -> None:
    job = {"do": "start", "name": "p", "source": source, "device": "", "args": '{"m":{}}', "memory_bytes": 1 << 24}
    worker.programs.add(program)
    await worker.turn(program, job, Host())[1]


def event(worker: LiveWorker, program: int, key: str, host: Host | None = None) -> asyncio.Future[TurnEnd]:
    ended: asyncio.Future[TurnEnd] = asyncio.get_running_loop().create_future()
    worker.event(program, key, "null", host or Host(), ended.set_result)
    return ended


async def evaluated(worker: LiveWorker, program: int, text: str) -> Value:
    return (await worker.turn(program, {"do": "eval", "key": text, "value": ""}, Host())[1]).value


async def test_running_program_is_blamed_despite_held_responses(
    worker: tuple[Language, LiveWorker],
) -> None:
    language, live = worker
    for program in (1, 2, 3):
        await start(live, program, COUNT[language])
    ended = [event(live, program, key) for program, key in ((1, "timer:x"), (2, "timer:loop"), (3, "timer:x"))]
    await eventually(lambda: live._slices.running() == 4 + 1)  # three first turns, then 4, 5, 6
    os.kill(live.pid, signal.SIGKILL)
    found = [await each for each in ended]
    assert live.crashed_by == 2
    assert {each.crashed_by for each in found if isinstance(each, WorkerLostError)} == {2}
    assert isinstance(found[1], WorkerLostError)


async def test_only_the_computing_turn_is_interrupted(worker: tuple[Language, LiveWorker]) -> None:
    language, live = worker
    for program in (1, 2):
        await start(live, program, COUNT[language])
    ended = [
        event(live, program, key)
        for program, key in ((1, "timer:x"), (1, "timer:loop"), (1, "timer:x"), (2, "timer:x"))
    ]
    found = [await each for each in ended]
    assert [type(each) for each in found] == [TurnDone, ScriptError, TurnDone, TurnDone]
    assert getattr(found[1], "reason", "") == "TIMEOUT"
    assert await evaluated(live, 1, "n") == 2
    assert isinstance(await event(live, 1, "timer:x"), TurnDone)
    assert await evaluated(live, 1, "n") == 3


async def test_response_to_a_stopped_turn_is_ignored(worker: tuple[Language, LiveWorker]) -> None:
    language, live = worker
    loads = {Language.LUA: "store.load('k') return 1", Language.SCHEME: '(load "k") 1'}
    for program in (1, 2):
        await start(live, program, COUNT[language])
    host = Host()
    number, future = live.turn(1, {"do": "eval", "key": loads[language], "value": ""}, host)
    await eventually(lambda: "load" in host.asked)
    assert live.stop_turn(number)
    with pytest.raises(ScriptError, match="stopped"):
        await future
    host = Host()
    _, future = live.turn(1, {"do": "eval", "key": loads[language], "value": ""}, host)
    await eventually(lambda: "load" in host.asked)
    live.drop(1)
    with pytest.raises(ScriptError, match="stopped"):
        await future
    assert await evaluated(live, 2, "n") == 0
    assert not live.lost.is_set()


async def test_many_events_of_many_programs_each_end_once(worker: tuple[Language, LiveWorker]) -> None:
    language, live = worker
    for program in range(1, 21):
        await start(live, program, COUNT[language])
    ended = [event(live, n % 20 + 1, "timer:x") for n in range(2000)]
    assert {type(await each) for each in ended} == {TurnDone}
    assert [await evaluated(live, program, "n") for program in range(1, 21)] == [100] * 20
