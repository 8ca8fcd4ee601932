"""Twins: the desired and reported properties of devices."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise

from services.chassis.errors import RevisionConflictError
from services.domain import ids, twin
from services.domain.contract import Contract
from services.domain.errors import InvalidRequestError
from services.domain.twin import Path, Report, Side
from services.domain.values import Value
from services.registry.errors import (
    DeviceNotFoundError,
    NoContractError,
    ResumeTokenError,
    StaleRevisionError,
    StaleSessionError,
)
from services.registry.model import ProgramsSide, TwinProgram, TwinSide, merge_programs
from services.registry.ports import (
    Clock,
    ContractStore,
    DeviceStore,
    ProgramsChange,
    TwinChange,
    TwinPosition,
    TwinStore,
)

_Change = TwinChange | ProgramsChange

MAX_REPORTED = 512
"""Maximum properties of a report: 32 capabilities with 16 properties each."""
MAX_WATCHED = 1000
"""Maximum devices that a watch can name."""
MAX_VERSIONS = 32
"""Retained versions of both sides together."""
_MAX_ATTEMPTS = 8
MAX_PROGRAMS = 1000
"""Maximum programs of a device."""
PROGRAMS_HINT = "Use ygg program deploy FILE -d DEVICE, ygg program stop, ygg program unload."
# Older tokens lack `p`: their watch begins with the next change of programs.
_TOKEN = re.compile(r"d(?P<desired>[0-9]{1,18})r(?P<reported>[0-9]{1,18})(?:p(?P<programs>[0-9]{1,18}))?\Z")


@dataclass(frozen=True, slots=True)
class TwinView:
    """A twin as callers see it; `contract` is the device's current one, or None."""

    device_id: str
    desired: Side
    reported: Side
    contract: Contract | None
    programs: ProgramsSide = field(default_factory=ProgramsSide)

    def drifted(self, path: Path) -> bool:
        """Return whether the value differs from the desired one and is not being sent: see `twin.drifted`."""
        return not self.problem(path) and path in twin.drifted(self.desired, self.reported)

    def problem(self, path: Path) -> str:
        """Return why the device does not have the desired value; "" if it has it, or may still get it."""
        desired = self.desired.entries.get(path)
        if desired is None or path not in twin.delta(self.desired, self.reported):
            return ""
        why = twin.violation(path, desired.value, self.contract)
        reported = self.reported.entries.get(path)
        if not why and reported is not None and reported.problem_revision >= desired.revision:
            return reported.problem
        return why


@dataclass(frozen=True, slots=True)
class Version:
    """A retained version of one side, and the paths that differ from the previous one (none for the oldest)."""

    which: TwinSide
    side: Side
    changed: Sequence[Path]


@dataclass(frozen=True, slots=True)
class TwinReport:
    """A bridge's report about a device; `properties` by path."""

    device_id: str
    contract_revision: int
    session_epoch: int
    properties: Mapping[Path, Report]
    answers: int = 0
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Twins:
    """Use cases, directly on the store: there is no index of twins."""

    store: TwinStore
    devices: DeviceStore
    contracts: ContractStore
    clock: Clock

    async def get(self, device_id: str) -> TwinView:
        """Return the twin of a device. Raises DeviceNotFoundError."""
        if await self.devices.get(ids.device_id(device_id)) is None:
            raise DeviceNotFoundError(device_id)
        return await self._view(device_id)

    async def _view(self, device_id: str) -> TwinView:
        desired, reported, programs, record = await asyncio.gather(
            self.store.get(TwinSide.DESIRED, device_id),
            self.store.get(TwinSide.REPORTED, device_id),
            self.store.programs(device_id),
            self.contracts.get(device_id),
        )
        return TwinView(device_id, desired.side, reported.side, record.contract if record else None, programs.side)

    async def update(
        self, device_id: str, revision: int, document: Mapping[str, Value], *, replacing: bool, author: str
    ) -> TwinView:
        """Change the desired side. `revision` 0 means any.

        Raises StaleRevisionError, NoContractError, DeviceNotFoundError, and the errors of `twin.parse`.
        """
        record, device = await asyncio.gather(
            self.contracts.get(ids.device_id(device_id)), self.devices.get(ids.device_id(device_id))
        )
        if device is None:
            raise DeviceNotFoundError(device_id)
        if record is None:
            raise NoContractError(device_id)
        if "programs" in document and all(c.id != "programs" for c in record.contract.capabilities):
            raise InvalidRequestError(
                "programs are deployed, not written into a twin", hint=PROGRAMS_HINT, field="desired"
            )
        patch = twin.parse(document, record.contract)
        for _ in range(_MAX_ATTEMPTS):
            old, reported = await asyncio.gather(
                self.store.get(TwinSide.DESIRED, device_id), self.store.get(TwinSide.REPORTED, device_id)
            )
            if revision and revision != old.side.revision:
                raise StaleRevisionError(device_id, revision, old.side.revision)
            new = twin.desire(
                old.side,
                patch,
                replacing=replacing,
                now=self.clock.now(),
                author=author,
                drifting=twin.drifted(old.side, reported.side),
            )
            if new is not old.side:
                try:
                    await self.store.put(TwinSide.DESIRED, device_id, new, old.key_revision)
                except RevisionConflictError:
                    continue  # retried; a caller that passed a revision gets the error above
            reported, programs = await asyncio.gather(
                self.store.get(TwinSide.REPORTED, device_id), self.store.programs(device_id)
            )
            return TwinView(device_id, new, reported.side, record.contract, programs.side)
        raise RevisionConflictError(f"the twin of {device_id} has too many concurrent writes", hint="Try again.")

    async def report(self, report: TwinReport) -> tuple[int, dict[Path, Value]]:
        """Store a device's report; return the desired revision and, for a complete report, the values to send.

        Raises StaleSessionError, InvalidRequestError.
        """
        device_id = ids.device_id(report.device_id)
        if len(report.properties) > MAX_REPORTED:
            raise InvalidRequestError(
                f"{len(report.properties)} properties, at most {MAX_REPORTED} are allowed", field="properties"
            )
        for _ in range(_MAX_ATTEMPTS):
            old, desired = await asyncio.gather(
                self.store.get(TwinSide.REPORTED, device_id), self.store.get(TwinSide.DESIRED, device_id)
            )
            if report.session_epoch < old.side.session_epoch:
                raise StaleSessionError(device_id, report.session_epoch, old.side.session_epoch)
            new = twin.report(
                old.side,
                report.properties,
                desired.side,
                complete=report.complete,
                answers=report.answers,
                contract_revision=report.contract_revision,
                session_epoch=report.session_epoch,
                now=self.clock.now(),
                author=f"ygg://main/device/{device_id}",
            )
            if new is not old.side:
                try:
                    await self.store.put(TwinSide.REPORTED, device_id, new, old.key_revision)
                except RevisionConflictError:
                    continue
            return await self._response(device_id, new, complete=report.complete)
        raise RevisionConflictError(f"the twin of {device_id} has too many concurrent writes", hint="Try again.")

    async def _response(self, device_id: str, reported: Side, *, complete: bool) -> tuple[int, dict[Path, Value]]:
        if not complete:
            return 0, {}
        desired = (await self.store.get(TwinSide.DESIRED, device_id)).side
        delta = twin.delta(desired, reported)
        if not delta:
            return desired.revision, {}
        record = await self.contracts.get(device_id)
        return desired.revision, twin.allowed(delta, record.contract) if record else {}

    async def report_programs(
        self, device_id: str, programs: Sequence[TwinProgram], as_of: int, author: str
    ) -> tuple[ProgramsSide, bool]:
        """Store a report of a device's programs; return the current side, and whether the report was outdated.

        Raises DeviceNotFoundError, InvalidRequestError.
        """
        ids.device_id(device_id)
        if len(programs) > MAX_PROGRAMS:
            raise InvalidRequestError(f"{len(programs)} programs, at most {MAX_PROGRAMS} are allowed", field="programs")
        if len({program.deployment_id for program in programs}) < len(programs):
            raise InvalidRequestError("two programs have the same deployment", field="programs")
        for _ in range(_MAX_ATTEMPTS):
            old = await self.store.programs(device_id)
            new = merge_programs(old.side, programs, as_of, self.clock.now(), author)
            if new is old.side:
                return new, as_of < new.as_of
            if not old.key_revision and await self.devices.get(device_id) is None:
                raise DeviceNotFoundError(device_id)
            try:
                await self.store.put_programs(device_id, new, old.key_revision)
            except RevisionConflictError:
                continue
            return new, False
        raise RevisionConflictError(f"the twin of {device_id} has too many concurrent writes", hint="Try again.")

    def with_programs(self) -> AsyncIterator[str]:
        """Yield the devices that have programs."""
        return self.store.with_programs()

    async def history(self, device_id: str, limit: int) -> Sequence[Version]:
        """Return the retained versions of both sides, newest first. Raises DeviceNotFoundError."""
        if await self.devices.get(ids.device_id(device_id)) is None:
            raise DeviceNotFoundError(device_id)
        found: list[Version] = []
        for which in TwinSide:
            sides = [Side(), *await self.store.history(which, device_id)]
            for before, side in pairwise(sides):
                if side.revision == before.revision:
                    continue  # written because of a new contract
                consecutive = side.revision == before.revision + 1
                found.append(Version(which, side, twin.changed(before, side) if consecutive else ()))
        return sorted(found, key=_when, reverse=True)[: limit or MAX_VERSIONS]

    async def watch(
        self, device_ids: Collection[str], token: str, *, changes_only: bool
    ) -> AsyncIterator[tuple[TwinView | None, str]]:
        """Yield twins, each with the resume token after it, and None once all initial ones have been sent.

        With a token, or `changes_only`, only changes. Raises ResumeTokenError, InvalidRequestError.
        """
        names = sorted({ids.device_id(one, "device_ids") for one in device_ids})
        if len(names) > MAX_WATCHED:
            raise InvalidRequestError(
                f"{len(names)} devices, at most {MAX_WATCHED} can be watched by name", field="device_ids"
            )
        end = await self.store.position()
        at = _position(token, end) if token else end
        if not token and not changes_only:
            async for device_id in _each(names) if names else self.store.device_ids():
                yield await self._view(device_id), ""
        yield None, _token(at)
        async with aclosing(self._changes(names, at)) as changes:
            async for change in changes:
                view = await self._view(change.device_id)
                if isinstance(change, ProgramsChange):
                    view, at = replace(view, programs=change.side), replace(at, programs=change.sequence)
                elif change.which is TwinSide.DESIRED:
                    view, at = replace(view, desired=change.side), replace(at, desired=change.sequence)
                else:
                    view, at = replace(view, reported=change.side), replace(at, reported=change.sequence)
                yield view, _token(at)

    async def _changes(self, device_ids: Collection[str], after: TwinPosition) -> AsyncGenerator[_Change, None]:
        waiting: asyncio.Queue[_Change | Exception] = asyncio.Queue(1)

        async def feed(changes: AsyncIterator[_Change]) -> None:
            try:
                async for change in changes:
                    await waiting.put(change)
            except Exception as e:  # noqa: BLE001 - any error is raised to the watcher
                await waiting.put(e)

        sources: list[AsyncIterator[_Change]] = [
            self.store.follow(TwinSide.DESIRED, device_ids, after.desired),
            self.store.follow(TwinSide.REPORTED, device_ids, after.reported),
            self.store.follow_programs(device_ids, after.programs),
        ]
        feeds = [asyncio.create_task(feed(source)) for source in sources]
        try:
            while True:
                change = await waiting.get()
                if isinstance(change, Exception):
                    raise change
                yield change
        finally:
            for one in feeds:
                one.cancel()
            await asyncio.gather(*feeds, return_exceptions=True)


async def _each(device_ids: Collection[str]) -> AsyncIterator[str]:
    for device_id in device_ids:
        yield device_id


def _when(version: Version) -> tuple[datetime | None, int]:
    return version.side.time, version.side.revision


def _token(at: TwinPosition) -> str:
    return f"d{at.desired}r{at.reported}p{at.programs}"


def _position(token: str, end: TwinPosition) -> TwinPosition:
    match = _TOKEN.match(token)
    if not match:
        raise ResumeTokenError
    programs = int(match["programs"]) if match["programs"] else end.programs
    at = TwinPosition(int(match["desired"]), int(match["reported"]), programs)
    if at.desired > end.desired or at.reported > end.reported or at.programs > end.programs:
        raise ResumeTokenError
    return at
