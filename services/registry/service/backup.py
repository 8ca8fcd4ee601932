"""Backup and restore: all that the registry holds, record by record, while it runs.

Owns what a restore does where something is there already. Records pass through as the bytes they are stored in; what is
in them is checked where they come in (`api.backup`). Enrolment tokens and sessions are not kept: neither means anything
in another mesh.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from services.chassis import buckets
from services.chassis.errors import RevisionConflictError
from services.domain.errors import InvalidRequestError, YggError
from services.registry.ports import Index

MAX_TOLD = 100
_AT_ONCE = 64
_TRIES = 8
_MAX_KNOWN = 100_000


class RecordKind(enum.Enum):
    """What a record is of, in the order of a backup.

    What is named comes before what names it. Devices come last and so are read last: whose twin, or whose contract, is
    in the backup is in it, too.
    """

    DOCUMENT = "document"
    CONTRACT_BODY = "contract body"
    TWIN_DESIRED = "desired twin"
    TWIN_REPORTED = "reported twin"
    GROUP = "group"
    CONTRACT = "contract"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class Kept:
    """A record in the deterministic bytes that it is stored in.

    `needs`, the records it names, is for contracts only, and `revision` for contracts and twins. A reported twin is
    kept without its session epoch: in another mesh epochs begin again, and its devices' reports would be refused as
    stale. What the store returns has `from_device` instead: a device has reported it to this mesh.
    """

    kind: RecordKind
    key: str
    data: bytes
    revision: int = 0
    needs: tuple[tuple[RecordKind, str], ...] = ()
    from_device: bool = False

    def __str__(self) -> str:
        """As it is told to people: `device porch-1`."""
        of_contract = self.kind is RecordKind.CONTRACT
        return f"{self.kind.value} {self.revision} of {self.key}" if of_contract else f"{self.kind.value} {self.key}"


class BackupStore(Protocol):
    """All that is kept. Every method raises StoreUnavailableError where the store does not answer."""

    def read(self) -> AsyncGenerator[tuple[Kept, int], None]:
        """Every record once, in the order of RecordKind, and how many there were when it began.

        A contract's revisions ascend. What was acknowledged before the beginning is among them.
        """

    async def get(self, kind: RecordKind, key: str) -> tuple[Kept, int] | None:
        """The record, of a contract the current revision, and the sequence that wrote it; or None."""

    async def revisions(self, device_id: str) -> dict[int, bytes]:
        """The records of a contract by revision."""

    async def create(self, kept: Kept) -> int:
        """Writes what must not be there; returns its sequence. Raises RevisionConflictError."""

    async def replace(self, kept: Kept, sequence: int) -> int:
        """Writes on top of what `get` returned; the same."""

    def merged(self, kept: Kept, there: Kept) -> Kept:
        """What overwriting `there` by `kept` writes; `there` itself if that changes nothing.

        What is retired or revoked stays so. The revision of a twin or contract is greater than what is there.
        """


_TWINS = (RecordKind.TWIN_DESIRED, RecordKind.TWIN_REPORTED)


class Left(enum.Enum):
    """Why a record was not written."""

    DIFFERENT = enum.auto()
    NEWER = enum.auto()
    PENDING = enum.auto()


@dataclass(slots=True)
class Progress:
    """What a restore has done; `differing` names the first MAX_TOLD of `different`.

    `newer` counts what is newer here and never goes back: what devices have reported to this mesh, and, if overwriting,
    the revisions of a contract before the last one of the backup where it went another way here.
    """

    written: int = 0
    equal: int = 0
    different: int = 0
    newer: int = 0
    differing: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Backups:
    """Use cases."""

    store: BackupStore
    index: Index

    async def backup(self) -> AsyncIterator[tuple[Kept, int, int]]:
        """Every record, how many were sent, it included, and how many there were at the beginning."""
        done = 0
        async with aclosing(self.store.read()) as records:
            async for kept, total in records:
                done += 1
                yield kept, done, total

    def restore(self, *, overwrite: bool) -> Restore:
        """A restore, to be given records in the order of their backup."""
        return Restore(self.store, self.index, overwrite)


@dataclass(slots=True)
class Restore:
    """One restore. Repeating it, as a whole or in part, is harmless."""

    store: BackupStore
    index: Index
    overwrite: bool
    progress: Progress = field(default_factory=Progress)
    _known: set[tuple[RecordKind, str]] = field(default_factory=set)
    _diverged: dict[str, Kept] = field(default_factory=dict)
    _last: dict[RecordKind, int] = field(default_factory=dict)

    async def write(self, records: Sequence[Kept]) -> None:
        """Writes records; those of one key one after the other, others side by side.

        Raises InvalidRequestError where a contract names what neither is stored nor came before it.
        """
        for kind in RecordKind:
            chains: dict[str, list[Kept]] = {}
            for kept in records:
                if kept.kind is kind:
                    chains.setdefault(kept.key, []).append(kept)
            await self._side_by_side(self._write, chains.values())

    async def _side_by_side(
        self, write: Callable[[Kept], Coroutine[None, None, None]], chains: Iterable[Sequence[Kept]]
    ) -> None:
        room = asyncio.Semaphore(_AT_ONCE)

        async def one_key(chain: Sequence[Kept]) -> None:
            async with room:
                for kept in chain:
                    await write(kept)

        try:
            async with asyncio.TaskGroup() as group:
                for chain in chains:
                    group.create_task(one_key(chain))
        except* YggError as failures:
            raise _first(failures) from None

    async def finish(self) -> Progress:
        """Writes the contracts that overwrite one that went another way, then waits until all can be read."""
        if self.overwrite:
            await self._side_by_side(self._supersede, [[kept] for kept in self._diverged.values()])
        for kind, bucket in ((RecordKind.DEVICE, buckets.DEVICES), (RecordKind.CONTRACT, buckets.CONTRACTS)):
            if kind in self._last:
                await self.index.reached(bucket.name, self._last[kind])
        return self.progress

    async def _write(self, kept: Kept) -> None:
        for need in kept.needs:
            await self._require(kept, need)
        self._count(kept, await (self._contract(kept) if kept.kind is RecordKind.CONTRACT else self._plain(kept)))

    async def _supersede(self, kept: Kept) -> None:
        self._count(kept, await self._overwrite(kept))

    def _count(self, kept: Kept, outcome: int | Left) -> None:
        if outcome is Left.PENDING:
            return
        if outcome is Left.NEWER:
            self.progress.newer += 1
        elif outcome is Left.DIFFERENT:
            self.progress.different += 1
            if len(self.progress.differing) < MAX_TOLD:
                self.progress.differing.append(str(kept))
        elif outcome:
            self.progress.written += 1
            self._last[kept.kind] = max(outcome, self._last.get(kept.kind, 0))
        else:
            self.progress.equal += 1

    async def _require(self, kept: Kept, need: tuple[RecordKind, str]) -> None:
        if need in self._known:
            return
        if await self.store.get(*need) is None:
            raise InvalidRequestError(
                f"{kept} names {need[0].value} {need[1]}, which is not there and did not come before it",
                hint="Restore the whole backup, in its order.",
            )
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known.add(need)

    async def _plain(self, kept: Kept) -> int | Left:
        """The sequence that wrote it, 0 where it is there and equal, else why it is left alone."""
        for _ in range(_TRIES):
            try:
                return await self.store.create(kept)
            except RevisionConflictError:
                there = await self.store.get(kept.kind, kept.key)
            if there is None:
                continue  # deleted just now
            if there[0].data == kept.data:
                return 0
            if there[0].from_device:
                return Left.NEWER
            if kept.kind in _TWINS and self.store.merged(kept, there[0]) == there[0]:
                return 0  # the same under another revision
            if not self.overwrite:
                return Left.DIFFERENT
            return await self._overwrite(kept)
        raise RevisionConflictError(f"{kept} is being written too often", hint="Try again.")

    async def _overwrite(self, kept: Kept) -> int | Left:
        for _ in range(_TRIES):
            there = await self.store.get(kept.kind, kept.key)
            try:
                if there is None:
                    return await self.store.create(kept)
                new = self.store.merged(kept, there[0])
                return 0 if new == there[0] else await self.store.replace(new, there[1])
            except RevisionConflictError:
                continue
        raise RevisionConflictError(f"{kept} is being written too often", hint="Try again.")

    def _another_way(self, kept: Kept) -> Left:
        """Of a contract that differs here the last revision of the backup counts, if any: `finish` writes it."""
        before = self._diverged.get(kept.key)
        self._diverged[kept.key] = kept
        if not self.overwrite:
            return Left.DIFFERENT
        return Left.PENDING if before is None else Left.NEWER  # `before` is the one that is not restored

    async def _contract(self, kept: Kept) -> int | Left:
        """The same. A contract only grows: where one revision differs, those after it are left alone as well, or, with
        `overwrite`, the last one becomes the next revision here.
        """
        if kept.key in self._diverged:
            return self._another_way(kept)
        for _ in range(_TRIES):
            there = await self.store.get(kept.kind, kept.key)
            try:
                if there is None:
                    return await self.store.create(kept)
                if kept.revision > there[0].revision:
                    return await self.store.replace(kept, there[1])
                if kept.revision == there[0].revision:
                    revisions = {kept.revision: there[0].data}
                else:
                    revisions = await self.store.revisions(kept.key)
                if revisions.get(kept.revision) == kept.data:
                    return 0
                if kept.revision < min(revisions, default=0):
                    return Left.DIFFERENT  # no longer kept here; those after it may well be the same
            except RevisionConflictError:
                continue
            return self._another_way(kept)
        raise RevisionConflictError(f"{kept} is being written too often", hint="Try again.")


def _first(failures: BaseExceptionGroup[YggError]) -> BaseException:
    found: BaseException = failures
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
