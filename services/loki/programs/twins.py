"""Tells the registry which programs shall run on a device and which do, for its twin (docs/adr/0009).

What is told is derived from the records that all replicas share, so any replica could tell it; one does for a device,
by rendezvous hashing as for instances. Told is the whole list, and only where it differs from what was told before.

    a record changes --> its device is due --(LULL_S later, with all that came meanwhile)--> told
    the registry is away --> due again RETRY_S later;    other replicas come or go --> what is ours now is due
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from services.domain.errors import Code, YggError
from services.domain.values import Value
from services.loki.engines import wire
from services.loki.programs import placement
from services.loki.programs.lifecycle import State
from services.loki.programs.manager import Wanted
from services.loki.programs.placement import Ref
from services.loki.programs.ports import InstanceStatus

LULL_S, RETRY_S, TICK_S = 0.2, 1.0, 0.5
AT_ONCE = 16
REPORTED_BYTES = 256 * 1024
SHARE = 10
"""Telling takes at most one part in so many of the time."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TwinProgram:
    """A program in a twin: what shall be, and what is. `reported_version` is empty where none runs."""

    deployment_id: str
    program_id: str
    desired_version: str
    desired_running: bool
    desire_time_s: float
    state: State
    reported_version: str = ""
    problem: str = ""
    reported: Mapping[str, Value] = field(default_factory=dict)


class Twins(Protocol):
    """The registry's twins."""

    async def tell(self, device_id: str, programs: Sequence[TwinProgram], as_of: int) -> None:
        """All programs of a device, as of a number that only grows. Raises a YggError."""

    async def told(self) -> set[str]:
        """The devices that it has been told programs of. Raises a YggError."""


class Known(Protocol):
    """What is told of: the records' mirror."""

    instances: dict[str, InstanceStatus]

    @property
    def as_of(self) -> int:
        """How much of the records it has seen."""


def told_of(what: Wanted, status: InstanceStatus | None) -> TwinProgram:
    """What is told of one instance; `status` None where no replica has seen to it yet."""
    state = status.state if status else State.LOADED
    version = str(status.version) if status and status.version and state.lives else ""
    problem = status.problem if status else ""
    if status and state.lives and not problem and state is not State.RUNNING:
        problem = status.last_error
    deployment = what.deployment
    return TwinProgram(
        deployment.id,
        deployment.program_id,
        str(what.version),
        deployment.running,
        deployment.update_time_s,
        state,
        version,
        problem[:300],
        dict(status.reported) if status else {},
    )


def within_budget(programs: Sequence[TwinProgram]) -> tuple[TwinProgram, ...]:
    """The same; what they report beyond REPORTED_BYTES altogether is left out, so that a twin stays a small record."""
    left, found = REPORTED_BYTES, list[TwinProgram]()
    for program in programs:
        left -= len(wire.dump(wire.to_json(dict(program.reported)))) if program.reported else 0
        found.append(program if left >= 0 else replace(program, reported={}))
    return tuple(found)


class TwinTeller:
    """`run` must run. `touch` is said for every change: of one device, or None where what shall run may differ."""

    def __init__(
        self,
        replica: str,
        known: Known,
        wanted: Callable[[], Mapping[Ref, Wanted]],
        living: Callable[[], list[str]],
        twins: Twins,
    ) -> None:
        self._replica, self._known, self._wanted, self._living, self._twins = replica, known, wanted, living, twins
        self._by_device: dict[str, list[tuple[Ref, Wanted]]] = {}
        self._told: dict[str, Sequence[TwinProgram]] = {}
        self._replicas: list[str] = []
        self._due: set[str] = set()
        self._all_due = True
        self._work = asyncio.Event()

    def touch(self, device_id: str | None) -> None:
        """Something has changed."""
        if device_id is None:
            self._all_due = True
        elif device_id:
            self._due.add(device_id)
        else:
            return  # an instance of the mesh
        self._work.set()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._work.wait()
            living = self._living()
            if self._replica not in living or (living == self._replicas and not self._work.is_set()):
                self._replicas = self._replicas if self._replica in living else []
                await asyncio.sleep(LULL_S)
                continue
            self._work.clear()
            began_s = loop.time()
            if not await self.look(living):
                await asyncio.sleep(RETRY_S)
                self._work.set()
            await asyncio.sleep(max(LULL_S, SHARE * (loop.time() - began_s)))

    async def look(self, living: list[str]) -> bool:
        """Tells what is due; False where some of it has to be told again."""
        try:
            if living != self._replicas:
                await self._share_anew(living)
        except YggError as e:
            _log.info("twins not told", extra={"why": e.message})
            return False
        if self._all_due:
            self._all_due = False
            self._due |= self._devices()
        due, self._due = {device for device in self._due if self._ours(device)}, set()
        failed = await self._tell_all({device: self._programs(device) for device in due})
        self._due |= failed
        return not failed

    async def _share_anew(self, living: list[str]) -> None:
        """What was another replica's is told again: we do not know what that one told."""
        left_over = await self._twins.told()
        self._replicas = living
        self._told = {device: told for device, told in self._told.items() if self._ours(device)}
        for device in left_over:
            if self._ours(device) and device not in self._told:
                self._due.add(device)
        self._all_due = True

    def _ours(self, device_id: str) -> bool:
        return placement.owner(f"twin.{device_id}", self._replicas) == self._replica

    def _devices(self) -> set[str]:
        """Works out what shall run where; every device that has a program, or had one."""
        found: dict[str, list[tuple[Ref, Wanted]]] = {}
        for ref, what in self._wanted().items():
            if ref.device:
                found.setdefault(ref.device, []).append((ref, what))
        self._by_device = found
        return {*found, *self._told}

    def _programs(self, device_id: str) -> tuple[TwinProgram, ...]:
        found = self._by_device.get(device_id, ())
        ordered = sorted(found, key=_by_ref)
        return within_budget([told_of(what, self._known.instances.get(ref.key)) for ref, what in ordered])

    async def _tell_all(self, programs: Mapping[str, Sequence[TwinProgram]]) -> set[str]:
        """The devices that could not be told of."""
        as_of = self._known.as_of
        ordered = [device for device in sorted(programs) if self._told.get(device) != programs[device]]
        failed: set[str] = set()
        for at in range(0, len(ordered), AT_ONCE):
            some = ordered[at : at + AT_ONCE]
            done = await asyncio.gather(*(self._tell(device, programs[device], as_of) for device in some))
            failed |= {device for device, well in zip(some, done, strict=True) if not well}
        return failed

    async def _tell(self, device_id: str, programs: Sequence[TwinProgram], as_of: int) -> bool:
        try:
            await self._twins.tell(device_id, programs, as_of)
        except YggError as e:
            if e.code is not Code.NOT_FOUND:  # the registry has no such device: nothing to tell
                _log.info("twin not told", extra={"device": device_id, "why": e.message})
                return False
        if programs:
            self._told[device_id] = programs
        else:
            self._told.pop(device_id, None)
        return True


def _by_ref(item: tuple[Ref, Wanted]) -> Ref:
    return item[0]
