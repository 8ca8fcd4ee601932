"""A worker of many programs, alone: answers for a dropped program must not reach the worker."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from services.domain.values import Value
from services.loki.adapters.languages import LuaCommand
from services.loki.adapters.live_worker import GRACE_S, MAX_SLICE_WALL_S, SLICE_S, LiveWorker
from services.loki.errors import ScriptError
from services.loki.programs.errors import WorkerLostError
from services.loki.programs.null_host import NullHost
from tests.fixtures.wait import pace


class Stubborn(NullHost):
    """A host that answers even if it was cancelled, as asyncio.wait_for of Python 3.11 does."""

    def __init__(self) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def ask(self, operation: str, arguments: Any) -> Value:
        """Return after `go` is set, or when cancelled."""
        self.asked.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            return None
        return None


def start(source: str) -> dict[str, Any]:
    return {"do": "start", "name": "x", "source": source, "device": "", "args": '{"m":{}}', "memory_bytes": 4 << 20}


async def test_late_response_of_cancelled_call_spares_neighbour() -> None:
    worker = await LiveWorker.start(await LuaCommand()())
    try:
        host = Stubborn()
        _, dropped = worker.turn(1, start("sleep(1)"), host)
        _, neighbour = worker.turn(2, start("x = 7"), NullHost())
        await neighbour
        await host.asked.wait()
        worker.drop(1)
        await asyncio.gather(dropped, return_exceptions=True)
        assert isinstance(dropped.exception(), ScriptError)
        await asyncio.sleep(0)
        _, answer = worker.turn(2, {"do": "eval", "key": "x", "value": ""}, NullHost())
        async with asyncio.timeout(10):
            assert (await answer).value == 7
        assert not worker.lost.is_set()
    finally:
        await worker.close()


async def test_turn_without_cpu_time_is_not_penalised() -> None:
    worker = await LiveWorker.start(await LuaCommand()())
    try:
        _, turn = worker.turn(1, start("local x = 0 for i = 1, 2e6 do x = x + i end"), NullHost())
        await asyncio.sleep(0)
        os.kill(worker.pid, signal.SIGSTOP)  # margin for a busy machine
        await pace(SLICE_S + GRACE_S + 0.7)
        os.kill(worker.pid, signal.SIGCONT)
        async with asyncio.timeout(10):
            await turn
    finally:
        await worker.close()


async def test_stalled_worker_is_killed_at_wall_clock_limit() -> None:
    worker = await LiveWorker.start(await LuaCommand()())
    _, turn = worker.turn(1, start("x = 1"), NullHost())
    await asyncio.sleep(0)
    os.kill(worker.pid, signal.SIGSTOP)
    async with asyncio.timeout(MAX_SLICE_WALL_S + GRACE_S + 3):
        await asyncio.gather(turn, return_exceptions=True)
    assert isinstance(turn.exception(), WorkerLostError)
    await worker.close()
