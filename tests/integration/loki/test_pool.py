"""The worker pool of a language: its size, its queue, and its behaviour if the engine is missing or fails to start."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from pathlib import Path

import pytest

from services.domain.errors import Code
from services.loki import model
from services.loki.adapters.languages import LuaCommand, SchemeCommand
from services.loki.adapters.pool import WorkerPool
from services.loki.adapters.worker import WorkerCommand
from services.loki.engines.scheme import build
from services.loki.errors import EngineBusyError, EngineMissingError
from services.loki.model import Language
from services.loki.service import Loki
from tests.fakes.scripting import FakeMesh, FakePublisher, LoopClock
from tests.fixtures.wait import eventually
from tests.integration.loki.conftest import Lab, pools_of, running

LUA, SCHEME = Language.LUA, Language.SCHEME


def loki_of(pools: dict[Language, WorkerPool]) -> Loki:
    return Loki(pools, FakeMesh(), FakePublisher(), LoopClock())


async def execute(loki: Loki, source: str, language: Language = LUA) -> object:
    return (await loki.execute(model.script(source, language), lambda entry: None)).value


def one(language: Language, command: object, **how: object) -> dict[Language, WorkerPool]:
    options = {"size": 1, "queue": 4, "queue_wait_s": 20, **how}
    return {language: WorkerPool(language, command, **options)}  # type: ignore[arg-type]


def gone(pids: list[int]) -> list[int]:
    """Return the processes that still exist."""
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def compiled(folder: Path) -> dict[Path, int]:
    """Return the compiled files under a folder with their modification times."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.go")}


async def test_a_run_waits_for_a_worker(scheme_cache: Path) -> None:
    async with running(one(LUA, LuaCommand())) as pools:
        loki = loki_of(pools)
        answers = await asyncio.gather(*(execute(loki, f"sleep(0.02) return {i}") for i in range(5)))
        assert list(answers) == [0, 1, 2, 3, 4]


async def test_the_queue_is_bounded() -> None:
    async with running(one(LUA, LuaCommand(), queue=1)) as pools:
        loki = loki_of(pools)
        first, second = (asyncio.create_task(execute(loki, "sleep(0.3) return 1")) for _ in range(2))
        await eventually(lambda: pools[LUA]._waiting)
        with pytest.raises(EngineBusyError) as caught:
            await execute(loki, "return 1")
        assert caught.value.code is Code.RESOURCE_EXHAUSTED
        assert list(await asyncio.gather(first, second)) == [1, 1]


async def test_the_wait_is_bounded() -> None:
    async with running(one(LUA, LuaCommand(), queue_wait_s=0.05)) as pools:
        loki = loki_of(pools)
        first = asyncio.create_task(execute(loki, "sleep(0.4) return 1"))
        await eventually(lambda: not pools[LUA]._idle)
        with pytest.raises(EngineBusyError):
            await execute(loki, "return 1")
        assert await first == 1
        assert await execute(loki, "return 2") == 2


async def test_cancelled_waiter_loses_no_worker() -> None:
    async with running(one(LUA, LuaCommand())) as pools:
        loki = loki_of(pools)
        first = asyncio.create_task(execute(loki, "sleep(0.1) return 1"))
        await eventually(lambda: not pools[LUA]._idle)
        waiting = [asyncio.create_task(execute(loki, "return 2")) for _ in range(3)]
        await eventually(lambda: len(pools[LUA]._waiting) == 3)
        waiting[0].cancel()
        waiting[2].cancel()
        assert await first == 1
        assert await waiting[1] == 2
        assert await execute(loki, "return 3") == 3


@pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])
async def test_runs_that_sleep_do_not_hold_up_others(scheme_cache: Path, language: Language) -> None:
    command = LuaCommand() if language is LUA else SchemeCommand(scheme_cache)
    sleeping, quick = ("sleep(3600)", "return 1") if language is LUA else ("(sleep 3600)", "1")
    async with running(one(language, command, max_size=4)) as pools:
        loki, pool = loki_of(pools), pools[language]
        asleep = [asyncio.create_task(execute(loki, sleeping, language)) for _ in range(3)]
        await eventually(lambda: sum(worker.waits for worker in pool.workers()) == 3)
        assert await execute(loki, quick, language) == 1
        assert not any(run.done() for run in asleep)
        for run in asleep:
            run.cancel()
        await asyncio.gather(*asleep, return_exceptions=True)


async def test_run_sleeping_in_a_comparison_blocks_no_other() -> None:
    async with running(one(LUA, LuaCommand(), max_size=2)) as pools:
        loki = loki_of(pools)
        asleep = asyncio.create_task(execute(loki, "table.sort({2, 1}, function(a, b) sleep(3600) return a < b end)"))
        await eventually(lambda: any(worker.waits for worker in pools[LUA].workers()))
        assert await execute(loki, "return 1") == 1
        asleep.cancel()


async def test_the_pool_grows_no_further_than_its_bound() -> None:
    async with running(one(LUA, LuaCommand(), max_size=2, queue_wait_s=0.3)) as pools:
        loki = loki_of(pools)
        asleep = [asyncio.create_task(execute(loki, "sleep(3600)")) for _ in range(2)]
        await eventually(lambda: sum(worker.waits for worker in pools[LUA].workers()) == 2)
        with pytest.raises(EngineBusyError):
            await execute(loki, "return 1")
        assert len(pools[LUA].workers()) == 2
        for run in asleep:
            run.cancel()


async def test_the_pool_does_not_grow_while_its_runs_compute() -> None:
    async with running(one(LUA, LuaCommand(), max_size=4)) as pools:
        loki, pool = loki_of(pools), pools[LUA]
        runs = [asyncio.create_task(execute(loki, "local x = 0 for i = 1, 1e7 do x = x + i end")) for _ in range(3)]
        await eventually(lambda: len(pool._waiting) == 2)
        assert pool._slots == 1
        await asyncio.gather(*runs)
        assert pool._slots == 1


async def test_extra_workers_end_when_the_pool_is_idle() -> None:
    async with running(one(LUA, LuaCommand(), max_size=3, idle_s=0.1)) as pools:
        loki, pool = loki_of(pools), pools[LUA]
        asleep = [asyncio.create_task(execute(loki, "sleep(3600)")) for _ in range(3)]
        await eventually(lambda: sum(worker.waits for worker in pool.workers()) == 3)
        for run in asleep:
            run.cancel()
        await asyncio.gather(*asleep, return_exceptions=True)
        await eventually(lambda: len(pool.workers()) == 1)
        assert await execute(loki, "return 1") == 1
        assert pool._slots == 1


async def test_grown_pool_recovers_after_losing_all_workers() -> None:
    async with running(one(LUA, LuaCommand(), max_size=3)) as pools:
        loki, pool = loki_of(pools), pools[LUA]
        asleep = [asyncio.create_task(execute(loki, "sleep(3600)")) for _ in range(3)]
        await eventually(lambda: sum(worker.waits for worker in pool.workers()) == 3)
        killed = {worker.pid for worker in pool.workers()}
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        ends = await asyncio.gather(*asleep, return_exceptions=True)
        assert [getattr(end, "reason", "") for end in ends] == ["CRASH"] * 3
        await eventually(lambda: {worker.pid for worker in pool.workers()} - killed)
        assert await execute(loki, "return 1") == 1


async def test_an_idle_worker_that_dies_is_replaced() -> None:
    async with running(one(LUA, LuaCommand())) as pools:
        pid = pools[LUA].workers()[0].pid
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: {w.pid for w in pools[LUA].workers()} - {pid})
        status = pools[LUA].status()
        assert (status.workers, status.desired, status.busy, status.restarts) == (1, 1, 0, 1)
        assert await execute(loki_of(pools), "return 1") == 1


async def test_no_worker_outlives_the_pool() -> None:
    async with running(one(LUA, LuaCommand(), size=2)) as pools:
        pids = [w.pid for w in pools[LUA].workers()]
        assert len(pids) == 2
    assert not gone(pids)


async def test_lua_works_without_guile_and_error_names_package(tmp_path: Path) -> None:
    pools = one(LUA, LuaCommand()) | one(SCHEME, SchemeCommand(tmp_path, "no-such-guile"))
    async with running(pools):
        loki = loki_of(pools)
        assert await execute(loki, "return 1") == 1
        with pytest.raises(EngineMissingError) as caught:
            await execute(loki, "1", SCHEME)
        assert caught.value.code is Code.UNIMPLEMENTED
        assert caught.value.hint == "Debian: apt-get install guile-3.0"
        status = pools[SCHEME].status()
        assert (status.available, status.workers) == (False, 0)
        assert "no-such-guile is not installed. Debian: apt-get install" in status.problem


async def test_a_guile_that_is_another_program_is_refused(tmp_path: Path) -> None:
    fake = tmp_path / "guile"
    fake.write_text("#!/bin/sh\necho 'guile (GNU Guile) 2.2.7'\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(EngineMissingError, match="is not GNU Guile 3"):
        await SchemeCommand(tmp_path / "cache", str(fake))()


async def test_the_scheme_worker_is_compiled_once(tmp_path: Path) -> None:
    guile = build.find()
    folders = await asyncio.gather(*(asyncio.to_thread(build.ensure, guile, tmp_path) for _ in range(2)))
    assert folders[0] == folders[1]
    before = compiled(tmp_path)
    assert {path.parent.parent for path in before} == {folders[0]}
    assert len(before) == len(list(build.SOURCES.glob("*.scm")))
    build.ensure(guile, tmp_path)
    assert before == compiled(tmp_path)


async def test_a_worker_that_cannot_start_is_tried_again(tmp_path: Path) -> None:
    tries = 0

    async def command() -> WorkerCommand:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise EngineMissingError("pending")
        return await LuaCommand()()

    async with running(one(LUA, command)) as pools:
        assert not pools[LUA].status().available
        await eventually(lambda: pools[LUA].status().available)
        assert await execute(loki_of(pools), "return 1") == 1


async def test_worker_with_malformed_output_is_discarded(tmp_path: Path) -> None:
    command = WorkerCommand(SCHEME, ("--", "/bin/sh", "-c", "printf 'nonsense, and more of it' >&0; sleep 5"))

    async def prepare() -> WorkerCommand:
        return command

    async with running(one(SCHEME, prepare)) as pools:
        assert not pools[SCHEME].status().available
        with pytest.raises(EngineMissingError):
            await execute(loki_of(pools), "1", SCHEME)


@pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])
async def test_a_thousand_runs_leave_no_memory_behind(scheme_cache: Path, language: Language) -> None:
    source = (
        "local t = {} for i = 1, 2000 do t[i] = {i} end return #t" if language is LUA
        else "(length (map (lambda (i) (make-vector 10 i)) (iota 2000)))"
    )  # fmt: skip
    pools = pools_of(scheme_cache, size=1)
    async with running({language: pools[language]}) as own:
        loki, pid = loki_of(own), own[language].workers()[0].pid

        def rss_kb() -> int:
            status = Path(f"/proc/{pid}/status").read_text()
            return int(status.split("VmRSS:")[1].split()[0])

        for _ in range(300):
            await execute(loki, source, language)
        before = rss_kb()
        for _ in range(700):
            await execute(loki, source, language)
        assert [w.pid for w in own[language].workers()] == [pid]
        assert rss_kb() < before * 1.25 + 2048


async def test_a_worker_that_has_grown_is_replaced_between_runs(scheme_cache: Path) -> None:
    pools = pools_of(scheme_cache, size=1)
    async with running({SCHEME: pools[SCHEME]}) as own:
        loki, pid = loki_of(own), own[SCHEME].workers()[0].pid
        script = model.script(
            "(vector-length (make-vector 20000000 0))", SCHEME, limits=model.limits(20, 200 * model.MIB, 0)
        )
        assert (await loki.execute(script, lambda entry: None)).value == 20000000
        assert await execute(loki, "1", SCHEME) == 1
        assert [w.pid for w in own[SCHEME].workers()] != [pid]


@pytest.mark.asyncio(loop_scope="module")
async def test_status_lists_versions_and_workers(lab: Lab) -> None:
    lua, scheme = (lab.pools[language].status() for language in (LUA, SCHEME))
    assert lua.version.startswith("Lua 5.4.")
    assert scheme.version.startswith("GNU Guile 3.")
    assert (lua.problem, scheme.problem) == ("", "")
