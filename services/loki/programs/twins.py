"""Reports the desired and actual programs of a device to the registry, for its twin (docs/adr/0009).

A report is derived from the records that all replicas share, so any replica could send it; rendezvous hashing picks
one for each device, as for instances. A report is the whole list, and is sent only if it differs from the last one.

    a record changes --> its device is due --(DEBOUNCE_S later, with all changes meanwhile)--> report
    the registry is unavailable --> due again RETRY_S later;    the replicas change --> all of our devices are due
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
from services.loki.programs.manager import DesiredInstance
from services.loki.programs.placement import Ref
from services.loki.programs.ports import InstanceStatus

DEBOUNCE_S, RETRY_S, TICK_S = 0.2, 1.0, 0.5
MAX_CONCURRENT_REPORTS = 16
MAX_REPORTED_BYTES = 256 * 1024
"""Of all programs of a device, so that a twin stays a small record."""
MAX_DUTY_CYCLE = 0.1
"""Of the time that is spent reporting."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TwinProgram:
    """A program in a twin: desired and reported state. `reported_version` is empty if none runs."""

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

    async def report(self, device_id: str, programs: Sequence[TwinProgram], as_of: int) -> None:
        """Replace all programs of a device; `as_of` never decreases. Raise a YggError on failure."""

    async def devices(self) -> set[str]:
        """Return the devices whose twins have programs. Raise a YggError on failure."""


class InstanceRecords(Protocol):
    """The mirror of the instances' records."""

    instances: dict[str, InstanceStatus]

    @property
    def as_of(self) -> int:
        """Return the sequence of the last record that the mirror holds."""


def twin_program(desired: DesiredInstance, status: InstanceStatus | None) -> TwinProgram:
    """Return the report of one instance; `status` is None until a replica has processed it."""
    state = status.state if status else State.LOADED
    version = str(status.version) if status and status.version and state.is_active else ""
    problem = status.problem if status else ""
    if status and state.is_active and not problem and state is not State.RUNNING:
        problem = status.last_error
    deployment = desired.deployment
    return TwinProgram(
        deployment.id,
        deployment.program_id,
        str(desired.version),
        deployment.running,
        deployment.update_time_s,
        state,
        version,
        problem[:300],
        dict(status.reported) if status else {},
    )


def within_budget(programs: Sequence[TwinProgram]) -> tuple[TwinProgram, ...]:
    """Return the programs without the reported values beyond MAX_REPORTED_BYTES in total."""
    left, found = MAX_REPORTED_BYTES, list[TwinProgram]()
    for program in programs:
        left -= len(wire.dump(wire.to_json(dict(program.reported)))) if program.reported else 0
        found.append(program if left >= 0 else replace(program, reported={}))
    return tuple(found)


class TwinReporter:
    """Reports the programs of this replica's devices. `run` must be running; `touch` marks changes."""

    def __init__(
        self,
        replica: str,
        records: InstanceRecords,
        desired: Callable[[], Mapping[Ref, DesiredInstance]],
        living: Callable[[], list[str]],
        twins: Twins,
    ) -> None:
        self._replica, self._records, self._desired, self._living, self._twins = (
            replica,
            records,
            desired,
            living,
            twins,
        )
        self._by_device: dict[str, list[tuple[Ref, DesiredInstance]]] = {}
        self._reported: dict[str, Sequence[TwinProgram]] = {}
        self._replicas: list[str] = []
        self._due: set[str] = set()
        self._all_due = True
        self._work = asyncio.Event()

    def touch(self, device_id: str | None) -> None:
        """Mark a device as due; None marks all, because the desired state may have changed."""
        if device_id is None:
            self._all_due = True
        elif device_id:
            self._due.add(device_id)
        else:
            return  # an instance of the mesh
        self._work.set()

    async def run(self) -> None:
        """Report due devices until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._work.wait()
            living = self._living()
            if self._replica not in living or (living == self._replicas and not self._work.is_set()):
                self._replicas = self._replicas if self._replica in living else []
                await asyncio.sleep(DEBOUNCE_S)
                continue
            self._work.clear()
            began_s = loop.time()
            if not await self.report_due(living):
                await asyncio.sleep(RETRY_S)
                self._work.set()
            await asyncio.sleep(max(DEBOUNCE_S, (loop.time() - began_s) / MAX_DUTY_CYCLE))

    async def report_due(self, living: list[str]) -> bool:
        """Report the due devices; return False if some must be reported again."""
        try:
            if living != self._replicas:
                await self._on_replicas_changed(living)
        except YggError as e:
            _log.info("twin reports failed", extra={"why": e.message})
            return False
        if self._all_due:
            self._all_due = False
            self._due |= self._devices()
        due, self._due = {device for device in self._due if self._ours(device)}, set()
        failed = await self._report_all({device: self._programs(device) for device in due})
        self._due |= failed
        return not failed

    async def _on_replicas_changed(self, living: list[str]) -> None:
        """Mark the devices taken over from another replica as due: its last reports are unknown here."""
        with_programs = await self._twins.devices()
        self._replicas = living
        self._reported = {device: report for device, report in self._reported.items() if self._ours(device)}
        for device in with_programs:
            if self._ours(device) and device not in self._reported:
                self._due.add(device)
        self._all_due = True

    def _ours(self, device_id: str) -> bool:
        return placement.owner(f"twin.{device_id}", self._replicas) == self._replica

    def _devices(self) -> set[str]:
        """Recompute the desired instances by device; return every device that has a program, or had one."""
        found: dict[str, list[tuple[Ref, DesiredInstance]]] = {}
        for ref, desired in self._desired().items():
            if ref.device:
                found.setdefault(ref.device, []).append((ref, desired))
        self._by_device = found
        return {*found, *self._reported}

    def _programs(self, device_id: str) -> tuple[TwinProgram, ...]:
        ordered = sorted(self._by_device.get(device_id, ()), key=_by_ref)
        return within_budget([twin_program(desired, self._records.instances.get(ref.key)) for ref, desired in ordered])

    async def _report_all(self, programs: Mapping[str, Sequence[TwinProgram]]) -> set[str]:
        """Report changed programs; return the devices whose report failed."""
        as_of = self._records.as_of
        ordered = [device for device in sorted(programs) if self._reported.get(device) != programs[device]]
        failed: set[str] = set()
        for at in range(0, len(ordered), MAX_CONCURRENT_REPORTS):
            batch = ordered[at : at + MAX_CONCURRENT_REPORTS]
            done = await asyncio.gather(*(self._report(device, programs[device], as_of) for device in batch))
            failed |= {device for device, succeeded in zip(batch, done, strict=True) if not succeeded}
        return failed

    async def _report(self, device_id: str, programs: Sequence[TwinProgram], as_of: int) -> bool:
        try:
            await self._twins.report(device_id, programs, as_of)
        except YggError as e:
            if e.code is not Code.NOT_FOUND:  # a device that the registry does not know needs no report
                _log.info("twin report failed", extra={"device": device_id, "why": e.message})
                return False
        if programs:
            self._reported[device_id] = programs
        else:
            self._reported.pop(device_id, None)
        return True


def _by_ref(item: tuple[Ref, DesiredInstance]) -> Ref:
    return item[0]
