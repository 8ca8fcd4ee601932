"""The count of program workers: an instance that waits for a worker counts as desired."""

from __future__ import annotations

import asyncio
from typing import Any

from services.loki.adapters.languages import LuaCommand
from services.loki.adapters.live_worker import LiveWorker
from services.loki.errors import EngineMissingError
from services.loki.model import Language, ProgramWorkersStatus
from services.loki.programs.instance import Instance, ReplicaContext
from services.loki.programs.model import Manifest, Package, Version
from services.loki.programs.placement import Ref
from services.loki.programs.workers import ProgramWorkers
from tests.fakes.scripting import LoopClock
from tests.fixtures.wait import eventually

NOTHING: Any = None


def program(workers: ProgramWorkers, number: int) -> Instance:
    """Return an instance that requires a worker."""

    def ignore(*_: object) -> None:
        pass

    context = ReplicaContext(
        NOTHING, NOTHING, LoopClock(), ignore, ignore, ignore, workers.place, ignore, ignore, ignore
    )
    package = Package(Manifest("idle", Version((1, 0, 0)), Language.LUA), "n = 0")
    return Instance(number, Ref("idle", f"d{number}"), package, {}, 1, NOTHING, context)


async def test_worker_is_needed_while_programs_wait() -> None:
    missing, tried = True, asyncio.Event()

    async def start(_: Language) -> LiveWorker:
        if missing:
            tried.set()
            raise EngineMissingError("no Lua here")
        return await LiveWorker.start(await LuaCommand()())

    workers = ProgramWorkers(start, 1)
    instances = [program(workers, number) for number in (1, 2)]
    try:
        assert workers.status(Language.LUA) == ProgramWorkersStatus(0, 0, 0)
        for instance in instances:
            instance.start()
        await tried.wait()
        assert workers.status(Language.LUA) == ProgramWorkersStatus(0, 1, 0)
        assert workers.status(Language.SCHEME) == ProgramWorkersStatus(0, 0, 0)
        missing = False
        await eventually(lambda: workers.status(Language.LUA) == ProgramWorkersStatus(1, 1, 0))
        instances[0].stop()
        instances[0].quarantined = True
        instances[0].start()
        assert workers.status(Language.LUA) == ProgramWorkersStatus(1, 2, 0)
        await eventually(lambda: workers.status(Language.LUA) == ProgramWorkersStatus(2, 2, 0))
    finally:
        for instance in instances:
            instance.stop()
        await workers.close()
