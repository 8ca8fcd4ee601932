"""Hostile programs: each fails within its deadline, and a neighbour in the same worker continues.

The table (`hostile_programs.py`) marks the programs that crash the worker: the neighbour restarts once, and the program
runs in a separate worker from then on.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from services.chassis import status
from services.loki.model import Language
from tests.fixtures.wait import eventually
from tests.integration.loki.hostile import KEPT
from tests.integration.loki.hostile_programs import CODES, FINE, LIVING, Living, Package, living, packages
from tests.integration.loki.programs import LUA, RUNNING, SCHEME, Programs
from yggdrasil.loki.v1 import program_pb2 as pb

WITHIN_S = 8.0
"""A turn of 2 s, 1 s of computing, the grace until a kill, a new worker, and a margin for two busy cores."""
NEIGHBOUR: dict[Language, str] = {
    Language.LUA: "beats = 0 every('beat', 0.2, function() beats = beats + 1 end)",
    Language.SCHEME: "(define beats 0) (every 'beat 0.2 (lambda (_) (set! beats (+ beats 1))))",
}
PROTO = {Language.LUA: LUA, Language.SCHEME: SCHEME}
BOTH = pytest.mark.parametrize("language", list(Language), ids=[each.value for each in Language])


async def answer_of(programs: Programs, name: str, expected: tuple[str, ...]) -> str:
    """Return the first of the expected reasons, or `fine` if the program runs without an error."""

    async def reason_of() -> str:
        found = (await programs.instances(name))[0]
        for reason in expected:
            if f"{reason}: " in found.last_error + found.problem:
                return reason
        assert "fine" in expected, found
        assert found.state == RUNNING, found
        assert await programs.eval(name, "1") == 1  # it answers after its first turn
        assert not (await programs.instances(name))[0].last_error, found
        return "fine"

    return str(await eventually(reason_of, WITHIN_S, f"any of {expected}"))


class Neighbour:
    """A program in the same worker, which must not be affected."""

    def __init__(self, programs: Programs, language: Language) -> None:
        self._programs, self._language, self.name = programs, language, f"neighbour_{language.value}"

    async def ready(self) -> pb.ProgramInstance:
        """Mark the running neighbour; deploy it once for all rows."""
        if not await self._programs.instances(self.name):
            await self._programs.run(self.name, NEIGHBOUR[self._language], PROTO[self._language])
            self._programs.deployed.clear()
        found = (await self._programs.state(self.name, RUNNING))[0]
        await self._programs.eval(self.name, "mark = 1" if self._language is Language.LUA else "(define mark 1)")
        return found

    async def goes_on(self, before: pb.ProgramInstance, worker: str) -> None:
        """Check that it answers, that its timers fire, and that it restarted only if the table expects it."""
        programs = self._programs
        await programs.state(self.name, RUNNING)
        beats = await programs.eval(self.name, "beats")
        more = f"beats > {beats!r}" if self._language is Language.LUA else f"(> beats {beats!r})"
        await programs.until(self.name, more, True, within_s=3)
        after = (await programs.instances(self.name))[0]
        assert after.restarts - before.restarts <= (0 if worker == KEPT else 1)
        if worker == KEPT:
            assert after.worker_pid == before.worker_pid
            assert await programs.eval(self.name, "mark") == 1


LIVES = [(program, program.language) for program in LIVING]


@pytest.mark.parametrize(("program", "language"), LIVES, ids=[f"{p.language.value}-{p.name}" for p in LIVING])
async def test_a_hostile_program_harms_itself_alone(programs: Programs, program: Living, language: Language) -> None:
    neighbour, culprit = Neighbour(programs, language), f"culprit_{language.value}"
    before = await neighbour.ready()
    version = f"1.0.{LIVING.index(program)}"
    await programs.load(culprit, program.source, PROTO[language], version, limits={"run_timeout_s": 2.0})
    await programs.deploy(culprit, version=version)
    expected = tuple(program.answer.split("|"))
    assert await answer_of(programs, culprit, expected) in expected
    turns = await programs.turns(culprit)
    assert "fine" in expected or not turns or any(turn.reason in expected for turn in turns)
    await programs.unload_all()
    await neighbour.goes_on(before, program.worker)


REFUSED = [(package, language) for language in Language for package in packages(language)]


@pytest.mark.parametrize(("package", "language"), REFUSED, ids=[f"{each.value}-{p.name}" for p, each in REFUSED])
async def test_invalid_package_is_refused_before_it_runs(
    programs: Programs, package: Package, language: Language
) -> None:
    neighbour = Neighbour(programs, language)
    before = await neighbour.ready()
    known = [program.id for program in (await programs.stub.ListPrograms(pb.ListProgramsRequest())).programs]
    manifest: dict[str, Any] = {"id": "culprit", "version": "1.0.0", "language": PROTO[language]} | package.manifest
    source = FINE[language] if package.source is None else package.source
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async with asyncio.timeout(WITHIN_S):
            await programs.load(manifest.pop("id"), source, manifest.pop("language"), **manifest)
    info = status.error_info(refused.value)
    reason = info.reason if info else ""
    assert reason in package.answer.split("|"), refused.value.details()
    assert refused.value.code() is CODES[reason]
    assert [p.id for p in (await programs.stub.ListPrograms(pb.ListProgramsRequest())).programs] == known
    await neighbour.goes_on(before, KEPT)


@BOTH
def test_there_are_forty_programs_a_language(language: Language) -> None:
    assert len({program.source for program in living(language)}) >= 40
    assert len(packages(language)) >= 40


async def test_program_that_crashes_workers_is_isolated_then_suspended(programs: Programs) -> None:
    await programs.run("bystander", NEIGHBOUR[Language.LUA])
    await programs.load("killer", next(p.source for p in LIVING if p.name == "a hostile pattern"))
    await programs.deploy("killer")
    found = await programs.state("killer", pb.INSTANCE_STATE_SUSPENDED)
    assert found[0].quarantined
    assert "three errors in a row: suspended for 60 s" in found[0].problem
    assert (await programs.instances("bystander"))[0].restarts == 1


async def test_log_flood_is_truncated_and_reported(programs: Programs) -> None:
    await programs.run("bystander", NEIGHBOUR[Language.LUA])
    await programs.load("chatter", "every('x', 0.05, function() for i = 1, 200 do log(('x'):rep(1000)) end end)")
    await programs.deploy("chatter")
    await programs.state("chatter", RUNNING)

    async def cut() -> list[str]:
        lines = await programs.lines("chatter")
        return lines if any("lines are left out" in line for line in lines) else []

    assert sum(map(len, await eventually(cut))) < 80 * 1024
    assert await programs.eval("bystander", "beats >= 0") is True


async def test_message_loops_leave_time_for_other_programs(programs: Programs) -> None:
    await programs.run("bystander", NEIGHBOUR[Language.LUA])
    for name in ("echo_a", "echo_b"):
        source = (
            "n = 0 subscribe('ball', function() n = n + 1 publish('ball', n) publish('ball', n) end) publish('ball', 0)"
        )
        await programs.run(name, source)
    await programs.until("echo_a", "n > 20", True)
    beats: Any = await programs.eval("bystander", "beats")
    await programs.value_when("bystander", "beats", lambda now: now > beats + 3)
    seen = await programs.statistics("echo_a")
    assert seen.host_calls < 1500
