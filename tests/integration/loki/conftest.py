"""Real worker processes of both languages on a mesh in memory, and Loki on the real one. A module shares each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.domain.values import Value
from services.loki import model
from services.loki.adapters.languages import LuaCommand, SchemeCommand
from services.loki.adapters.pool import Prepare, WorkerPool
from services.loki.errors import ScriptError
from services.loki.model import Language, Limits, LogEntry, Outcome
from services.loki.service import Loki
from tests.fakes.scripting import HUMIDITY, LED, MEMO, TEMPERATURE, FakeDevice, FakeMesh, FakePublisher, LoopClock
from tests.fixtures.mesh import Processes
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess, starter
from tests.fixtures.wait import eventually
from tests.integration.loki.programs import Programs, start_loki

SUFFIX = {Language.LUA: "lua", Language.SCHEME: "scm"}


class Lab:
    """Runs scripts. Each test starts with the initial fleet."""

    def __init__(self, pools: dict[Language, WorkerPool], commands: dict[Language, Prepare]) -> None:
        self.pools, self.commands = pools, commands
        self.mesh, self.publisher = FakeMesh(), FakePublisher()
        self.loki = Loki(pools, self.mesh, self.publisher, LoopClock())
        self.log: list[LogEntry] = []

    def reset(self) -> None:
        """Restore the initial fleet and empty the log."""
        self.mesh.fleet.clear()
        self.mesh.timeouts.clear()
        self.mesh.hanging = self.publisher.down = False
        self.mesh.calls_in_flight = 1000
        self.publisher.messages.clear()
        self.log.clear()
        self.porch = self.mesh.add(FakeDevice("porch-1", LED, TEMPERATURE, HUMIDITY, MEMO, zone="hall"))
        self.cellar = self.mesh.add(FakeDevice("cellar-1", TEMPERATURE, zone="cellar"))
        self.shed = self.mesh.add(FakeDevice("shed-1", LED, online=False))

    async def outcome(
        self,
        language: Language,
        source: str,
        *,
        device: str = "porch-1",
        arguments: dict[str, Value] | None = None,
        limits: Limits = model.DEFAULT_LIMITS,
        name: str = "",
    ) -> Outcome:
        """Return the result and usage of a script; raises the errors of `Loki.execute`."""
        checked = model.script(
            source,
            language,
            name=name or f"test.{SUFFIX[language]}",
            device_id=device,
            arguments=arguments,
            limits=limits,
        )
        return await self.loki.execute(checked, self.log.append)

    async def value(self, language: Language, source: str, **how: object) -> Value:
        """Return the result of a script."""
        return (await self.outcome(language, source, **how)).value  # type: ignore[arg-type]

    async def failure(self, language: Language, source: str, **how: object) -> ScriptError:
        """Return the error of a script that must fail."""
        with pytest.raises(ScriptError) as caught:
            await self.outcome(language, source, **how)  # type: ignore[arg-type]
        return caught.value

    def pids(self, language: Language) -> list[int]:
        """Return the process ids of the workers of a language."""
        return sorted(worker.pid for worker in self.pools[language].workers())

    async def all_up(self, language: Language) -> None:
        """Wait until every worker is up again."""
        await eventually(lambda: self.pools[language].status().workers == 2, 30)


@pytest.fixture(scope="session")
def scheme_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the compiled Scheme worker, shared by the session."""
    return tmp_path_factory.mktemp("scheme")


@contextlib.asynccontextmanager
async def running(pools: dict[Language, WorkerPool]) -> AsyncIterator[dict[Language, WorkerPool]]:
    """Run the pools; their processes end with the block."""
    maintaining = [asyncio.create_task(pool.maintain()) for pool in pools.values()]
    try:
        for pool in pools.values():
            await pool.settled()
        yield pools
    finally:
        for task in maintaining:
            task.cancel()
        await asyncio.gather(*maintaining, return_exceptions=True)


def commands_of(cache: Path) -> dict[Language, Prepare]:
    """The start commands of the workers, by language."""
    return {Language.LUA: LuaCommand(), Language.SCHEME: SchemeCommand(cache)}


def pools_of(cache: Path, *, size: int = 2, queue: int = 16, queue_wait_s: float = 30) -> dict[Language, WorkerPool]:
    """One pool per language, not started."""
    commands = commands_of(cache)
    return {
        language: WorkerPool(language, command, size=size, queue=queue, queue_wait_s=queue_wait_s)
        for language, command in commands.items()
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _shared(scheme_cache: Path) -> AsyncIterator[Lab]:
    async with running(pools_of(scheme_cache)) as pools:
        for pool in pools.values():
            assert pool.status().available, pool.status().problem
        yield Lab(pools, commands_of(scheme_cache))


@pytest_asyncio.fixture(loop_scope="module")
async def lab(_shared: Lab) -> Lab:
    """Both languages, with two workers each."""
    _shared.reset()
    return _shared


@pytest.fixture(scope="module")
def loki_process(shared_processes: Processes, pki: Pki, scheme_cache: Path) -> Iterator[ServiceProcess]:
    """Loki on the real mesh, shared by the tests of a module; tests must not kill it."""
    with starter(pki) as start:
        yield start_loki(start, shared_processes, scheme_cache)


@pytest_asyncio.fixture
async def programs(loki_process: ServiceProcess, pki: Pki) -> AsyncIterator[Programs]:
    """A user's client of the ProgramService; unloads its deployments afterwards."""
    caller, channel = Programs.of(loki_process, pki)
    yield caller
    await caller.unload_all()
    await channel.close()
