"""Keeps a set of child processes running: starts them, starts again what ended, stops all in order.

                 spawn            ended                     wait over
    (stopped) ──────────▶ running ───────▶ waiting (Backoff) ─────────▶ running …
                             │                    │
                             └──── stop ──────────┴──▶ (stopped)

Owns nothing of what the children do; readiness is `ready`. Clock and spawning come in from outside.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.chassis.threads import in_thread
from ygg.exits import CliError
from ygg.mesh import child
from ygg.mesh.backoff import Backoff
from ygg.mesh.child import Spec

ROTATE_S = 5.0
"""How often logs are looked at, in seconds."""
Spawn = Callable[[Spec], Awaitable[Any]]
"""Starts a process that has `pid`, `returncode` and `wait()`."""
Stop = Callable[[Any, float], Awaitable[None]]


class ChildFailedError(CliError):
    """A child ended in a way that another start cannot mend."""


@dataclass(slots=True)
class Member:
    """A child and how it fares."""

    spec: Spec
    backoff: Backoff = field(default_factory=Backoff)
    process: Any = None
    last_status: int | None = None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.returncode is None


def gave_up(spec: Spec, why: str) -> ChildFailedError:
    """The error for a child that cannot run, with its last words."""
    said = child.last_words(spec)
    return ChildFailedError(f"{spec.name} {why}{': ' + said if said else ''}", hint=f"Its log: {spec.log}")


@dataclass(frozen=True, slots=True)
class Machine:
    """What the supervisor needs of the world."""

    spawn: Spawn = child.spawn
    stop: Stop = child.stop
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Supervisor:
    """Runs `specs` until it is stopped; they are started in the given order and stopped in the reverse one."""

    def __init__(
        self, specs: Sequence[Spec], on_end: Callable[[Member, float], None], machine: Machine | None = None
    ) -> None:
        """`on_end` is told of each child that ended by itself and of the seconds until it is started again.

        It may raise ChildFailedError to give up; `gave_up` makes one.
        """
        self.members = {spec.name: Member(spec) for spec in specs}
        self._on_end = on_end
        self._machine = machine or Machine()

    async def run(self) -> None:
        """Keep all children running until cancelled, then stop them.

        Raises ChildFailedError, after stopping all, where one ends with a status of its `fatal_status`.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for member in self.members.values():
                    tasks.create_task(self._keep(member), name=f"keep {member.spec.name}")
                tasks.create_task(self._rotate(), name="rotate logs")
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            await asyncio.shield(self._stop_all())

    async def _keep(self, member: Member) -> None:
        while True:
            member.process = await self._machine.spawn(member.spec)
            member.backoff.started(self._machine.clock())
            member.last_status = await member.process.wait()
            # What it started must not go on beside its successor.
            await self._machine.stop(member.process, 0)
            if member.last_status in member.spec.fatal_status:
                raise gave_up(member.spec, "cannot run")
            wait_s = member.backoff.ended(self._machine.clock())
            self._on_end(member, wait_s)
            await self._machine.sleep(wait_s)

    async def _rotate(self) -> None:
        """Children run for months: their logs are bounded while they do."""
        while True:
            await asyncio.sleep(ROTATE_S)
            for member in self.members.values():
                await in_thread(child.rotate, member.spec.log)

    async def _stop_all(self) -> None:
        for member in reversed(self.members.values()):
            if member.process is not None:
                await self._machine.stop(member.process, member.spec.stop_s)
