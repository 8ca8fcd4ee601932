"""Backup and restore of everything in the registry, record by record, while it runs.

Owns how a restore handles existing records. Records pass through as their stored bytes; `api.backup` checks their
content on entry. Enrolment tokens and sessions are not included: neither has a meaning in another mesh.
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

MAX_DIFFERING_NAMES = 100
_MAX_CONCURRENT_KEYS = 64
"""Keys that a restore writes concurrently."""
_MAX_ATTEMPTS = 8
_MAX_CACHED_KEYS = 100_000
"""Cached keys of records that others refer to and that are known to exist."""


class RecordKind(enum.Enum):
    """The kind of a record, in the order of a backup.

    A record comes after those that it refers to. Devices come last and so are read last: the device of every twin and
    contract in the backup is in it, too.
    """

    DOCUMENT = "document"
    CONTRACT_BODY = "contract body"
    TWIN_DESIRED = "desired twin"
    TWIN_REPORTED = "reported twin"
    GROUP = "group"
    CONTRACT = "contract"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record in its deterministic stored bytes.

    `needs`, the records that it refers to, is for contracts only, and `revision` for contracts and twins. A reported
    twin is backed up without its session epoch: in another mesh epochs start again, and its devices' reports would be
    rejected as stale. `from_device`, set only by the store, means that a device has reported the record to this mesh.
    """

    kind: RecordKind
    key: str
    data: bytes
    revision: int = 0
    needs: tuple[tuple[RecordKind, str], ...] = ()
    from_device: bool = False

    def __str__(self) -> str:
        """Return the name for people: `device porch-1`."""
        of_contract = self.kind is RecordKind.CONTRACT
        return f"{self.kind.value} {self.revision} of {self.key}" if of_contract else f"{self.kind.value} {self.key}"


class BackupStore(Protocol):
    """The records of the registry. Every method raises StoreUnavailableError if the store does not respond."""

    def read(self) -> AsyncGenerator[tuple[StoredRecord, int], None]:
        """Yield every record once, in the order of RecordKind, with the number of records when it began.

        A contract's revisions ascend. Everything acknowledged before the start is included.
        """

    async def get(self, kind: RecordKind, key: str) -> tuple[StoredRecord, int] | None:
        """Return the record, of a contract the current revision, and its sequence; or None."""

    async def revisions(self, device_id: str) -> dict[int, bytes]:
        """Return the records of a contract by revision."""

    async def create(self, record: StoredRecord) -> int:
        """Write a new record; return its sequence. Raises RevisionConflictError if it exists."""

    async def replace(self, record: StoredRecord, sequence: int) -> int:
        """Write on top of the sequence that `get` returned; return the new one. Raises RevisionConflictError."""

    def merged(self, record: StoredRecord, existing: StoredRecord) -> StoredRecord:
        """Return the result of overwriting `existing` with `record`; `existing` itself if that changes nothing.

        Retirement and revocation persist. The revision of a twin or contract is greater than the existing one.
        """


_TWINS = (RecordKind.TWIN_DESIRED, RecordKind.TWIN_REPORTED)


class SkipReason(enum.Enum):
    """The reason why a record was not written."""

    DIFFERENT = enum.auto()
    NEWER = enum.auto()
    PENDING = enum.auto()


@dataclass(slots=True)
class Progress:
    """Progress of a restore; `differing` names the first MAX_DIFFERING_NAMES of `different`.

    `newer` counts existing records that are newer and kept: those that devices have reported to this mesh, and, with
    `overwrite`, the revisions of a diverged contract before the last one of the backup.
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

    async def backup(self) -> AsyncIterator[tuple[StoredRecord, int, int]]:
        """Yield every record, with the number sent so far, itself included, and the number of records at the start."""
        done = 0
        async with aclosing(self.store.read()) as records:
            async for record, total in records:
                done += 1
                yield record, done, total

    def restore(self, *, overwrite: bool) -> Restore:
        """Return a restore, which takes records in the order of their backup."""
        return Restore(self.store, self.index, overwrite)


@dataclass(slots=True)
class Restore:
    """One restore. Idempotent, as a whole and in part."""

    store: BackupStore
    index: Index
    overwrite: bool
    progress: Progress = field(default_factory=Progress)
    _known: set[tuple[RecordKind, str]] = field(default_factory=set)
    _diverged: dict[str, StoredRecord] = field(default_factory=dict)
    _last: dict[RecordKind, int] = field(default_factory=dict)

    async def write(self, records: Sequence[StoredRecord]) -> None:
        """Write records: those of one key in order, different keys concurrently.

        Raises InvalidRequestError if a contract refers to a record that is neither stored nor came before it.
        """
        for kind in RecordKind:
            chains: dict[str, list[StoredRecord]] = {}
            for record in records:
                if record.kind is kind:
                    chains.setdefault(record.key, []).append(record)
            await self._write_concurrently(self._write, chains.values())

    async def _write_concurrently(
        self, write: Callable[[StoredRecord], Coroutine[None, None, None]], chains: Iterable[Sequence[StoredRecord]]
    ) -> None:
        slots = asyncio.Semaphore(_MAX_CONCURRENT_KEYS)

        async def one_key(chain: Sequence[StoredRecord]) -> None:
            async with slots:
                for record in chain:
                    await write(record)

        try:
            async with asyncio.TaskGroup() as group:
                for chain in chains:
                    group.create_task(one_key(chain))
        except* YggError as failures:
            raise _first(failures) from None

    async def finish(self) -> Progress:
        """Overwrite diverged contracts, if requested, then wait until everything can be read."""
        if self.overwrite:
            await self._write_concurrently(self._supersede, [[record] for record in self._diverged.values()])
        for kind, bucket in ((RecordKind.DEVICE, buckets.DEVICES), (RecordKind.CONTRACT, buckets.CONTRACTS)):
            if kind in self._last:
                await self.index.reached(bucket.name, self._last[kind])
        return self.progress

    async def _write(self, record: StoredRecord) -> None:
        for need in record.needs:
            await self._require(record, need)
        self._count(
            record, await (self._contract(record) if record.kind is RecordKind.CONTRACT else self._plain(record))
        )

    async def _supersede(self, record: StoredRecord) -> None:
        self._count(record, await self._overwrite(record))

    def _count(self, record: StoredRecord, outcome: int | SkipReason) -> None:
        if outcome is SkipReason.PENDING:
            return
        if outcome is SkipReason.NEWER:
            self.progress.newer += 1
        elif outcome is SkipReason.DIFFERENT:
            self.progress.different += 1
            if len(self.progress.differing) < MAX_DIFFERING_NAMES:
                self.progress.differing.append(str(record))
        elif outcome:
            self.progress.written += 1
            self._last[record.kind] = max(outcome, self._last.get(record.kind, 0))
        else:
            self.progress.equal += 1

    async def _require(self, record: StoredRecord, need: tuple[RecordKind, str]) -> None:
        if need in self._known:
            return
        if await self.store.get(*need) is None:
            raise InvalidRequestError(
                f"{record} refers to {need[0].value} {need[1]}, which neither exists nor came before it",
                hint="Restore the whole backup, in its order.",
            )
        if len(self._known) >= _MAX_CACHED_KEYS:
            self._known.clear()
        self._known.add(need)

    async def _plain(self, record: StoredRecord) -> int | SkipReason:
        """Create the record; return its sequence, 0 if an equal one exists, or why the existing one stays."""
        for _ in range(_MAX_ATTEMPTS):
            try:
                return await self.store.create(record)
            except RevisionConflictError:
                existing = await self.store.get(record.kind, record.key)
            if existing is None:
                continue  # deleted just now
            if existing[0].data == record.data:
                return 0
            if existing[0].from_device:
                return SkipReason.NEWER
            if record.kind in _TWINS and self.store.merged(record, existing[0]) == existing[0]:
                return 0  # equal except for the revision
            if not self.overwrite:
                return SkipReason.DIFFERENT
            return await self._overwrite(record)
        raise RevisionConflictError(f"{record} has too many concurrent writes", hint="Try again.")

    async def _overwrite(self, record: StoredRecord) -> int | SkipReason:
        for _ in range(_MAX_ATTEMPTS):
            existing = await self.store.get(record.kind, record.key)
            try:
                if existing is None:
                    return await self.store.create(record)
                new = self.store.merged(record, existing[0])
                return 0 if new == existing[0] else await self.store.replace(new, existing[1])
            except RevisionConflictError:
                continue
        raise RevisionConflictError(f"{record} has too many concurrent writes", hint="Try again.")

    def _diverge(self, record: StoredRecord) -> SkipReason:
        """Keep the last revision of a diverged contract in the backup, for `finish` to write if `overwrite` is set."""
        before = self._diverged.get(record.key)
        self._diverged[record.key] = record
        if not self.overwrite:
            return SkipReason.DIFFERENT
        return SkipReason.PENDING if before is None else SkipReason.NEWER  # `before` is the one that is not restored

    async def _contract(self, record: StoredRecord) -> int | SkipReason:
        """Create or extend the contract, as `_plain` does for other records. A contract only grows: if one revision
        differs, the later ones are not written either, or, with `overwrite`, the last one becomes the next revision.
        """
        if record.key in self._diverged:
            return self._diverge(record)
        for _ in range(_MAX_ATTEMPTS):
            existing = await self.store.get(record.kind, record.key)
            try:
                if existing is None:
                    return await self.store.create(record)
                if record.revision > existing[0].revision:
                    return await self.store.replace(record, existing[1])
                if record.revision == existing[0].revision:
                    revisions = {record.revision: existing[0].data}
                else:
                    revisions = await self.store.revisions(record.key)
                if revisions.get(record.revision) == record.data:
                    return 0
                if record.revision < min(revisions, default=0):
                    return SkipReason.DIFFERENT  # no longer retained here; later ones may be equal
            except RevisionConflictError:
                continue
            return self._diverge(record)
        raise RevisionConflictError(f"{record} has too many concurrent writes", hint="Try again.")


def _first(failures: BaseExceptionGroup[YggError]) -> BaseException:
    found: BaseException = failures
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
