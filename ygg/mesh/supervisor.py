"""Supervise a set of child processes: start them, restart those that exit, stop all in order.

                 spawn            exited                    backoff over
    (stopped) ──────────▶ running ───────▶ waiting (Backoff) ─────────▶ running …
                             │                    │
                             └──── stop ──────────┴──▶ (stopped)

Knows nothing about the children's work; `ready` checks readiness. Clock and spawning are injected.
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
"""Interval of log rotation checks, in seconds."""
Spawn = Callable[[Spec], Awaitable[Any]]
"""Starts a process that has `pid`, `returncode` and `wait()`."""
Stop = Callable[[Any, float], Awaitable[None]]


class ChildFailedError(CliError):
    """A child failed in a way that a restart cannot fix."""


@dataclass(slots=True)
class Member:
    """A child and its state."""

    spec: Spec
    backoff: Backoff = field(default_factory=Backoff)
    process: Any = None
    last_status: int | None = None

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self.process is not None and self.process.returncode is None


def child_failed(spec: Spec, why: str) -> ChildFailedError:
    """Return the error for a child that cannot run, with its last log line."""
    last = child.last_log_line(spec)
    return ChildFailedError(f"{spec.name} {why}{': ' + last if last else ''}", hint=f"See its log: {spec.log}")


@dataclass(frozen=True, slots=True)
class ProcessHost:
    """The supervisor's dependencies on processes and time."""

    spawn: Spawn = child.spawn
    stop: Stop = child.stop
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Supervisor:
    """Runs `specs` until cancelled; starts them in order and stops them in reverse order."""

    def __init__(
        self, specs: Sequence[Spec], on_end: Callable[[Member, float], None], host: ProcessHost | None = None
    ) -> None:
        """`on_end` is called for each child that exited unexpectedly, with the seconds until its restart.

        It may raise ChildFailedError to give up; `child_failed` makes one.
        """
        self.members = {spec.name: Member(spec) for spec in specs}
        self._on_end = on_end
        self._host = host or ProcessHost()

    async def run(self) -> None:
        """Keep all children running until cancelled, then stop them.

        If one exits with a status of its `fatal_status`, stops all and raises ChildFailedError.
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
            member.process = await self._host.spawn(member.spec)
            member.backoff.started(self._host.clock())
            member.last_status = await member.process.wait()
            # Kill its descendants, which must not run beside its successor.
            await self._host.stop(member.process, 0)
            if member.last_status in member.spec.fatal_status:
                raise child_failed(member.spec, "cannot run")
            wait_s = member.backoff.ended(self._host.clock())
            self._on_end(member, wait_s)
            await self._host.sleep(wait_s)

    async def _rotate(self) -> None:
        """Rotate the logs of running children, so that their size stays bounded."""
        while True:
            await asyncio.sleep(ROTATE_S)
            for member in self.members.values():
                await in_thread(child.rotate, member.spec.log)

    async def _stop_all(self) -> None:
        for member in reversed(self.members.values()):
            if member.process is not None:
                await self._host.stop(member.process, member.spec.stop_s)
