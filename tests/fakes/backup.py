"""The port BackupStore in memory: every write of a key is kept, as in a bucket with a history."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace

from services.chassis.errors import RevisionConflictError
from services.registry.service.backup import RecordKind, StoredRecord


class MemoryBackup:
    """Sequences count all writes, as a stream's do."""

    def __init__(self) -> None:
        self._writes: dict[tuple[RecordKind, str], list[tuple[int, StoredRecord]]] = {}
        self._sequence = 0

    async def read(self) -> AsyncGenerator[tuple[StoredRecord, int], None]:
        """Every record once, in the order of RecordKind."""
        found = []
        for kind in RecordKind:
            for (its_kind, _), writes in sorted(self._writes.items(), key=lambda item: item[0][1]):
                if its_kind is kind:
                    found += (
                        _effective([kept for _, kept in writes]) if kind is RecordKind.CONTRACT else [writes[-1][1]]
                    )
        for kept in found:
            yield kept, len(found)

    async def get(self, kind: RecordKind, key: str) -> tuple[StoredRecord, int] | None:
        """The last write."""
        writes = self._writes.get((kind, key))
        return None if not writes else (writes[-1][1], writes[-1][0])

    async def revisions(self, device_id: str) -> dict[int, bytes]:
        """The contract's revisions."""
        writes = self._writes.get((RecordKind.CONTRACT, device_id), [])
        return {kept.revision: kept.data for kept in _effective([kept for _, kept in writes])}

    async def create(self, record: StoredRecord) -> int:
        """Raise RevisionConflictError if it exists."""
        if (record.kind, record.key) in self._writes:
            raise RevisionConflictError(f"{record} is there")
        return self._write(record)

    async def replace(self, record: StoredRecord, sequence: int) -> int:
        """Raises RevisionConflictError where another write came between."""
        writes = self._writes.get((record.kind, record.key))
        if not writes or writes[-1][0] != sequence:
            raise RevisionConflictError(f"{record} was written meanwhile")
        return self._write(record)

    def merged(self, record: StoredRecord, there: StoredRecord) -> StoredRecord:
        """Contracts get the next revision; everything else is replaced."""
        if there.from_device or there.data == record.data:
            return there
        if record.kind is not RecordKind.CONTRACT:
            return record
        return replace(record, revision=max(there.revision + 1, record.revision))

    def _write(self, record: StoredRecord) -> int:
        self._sequence += 1
        self._writes.setdefault((record.kind, record.key), []).append((self._sequence, record))
        return self._sequence


def _effective(writes: list[StoredRecord]) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    for kept in writes:
        found = [one for one in found if one.revision < kept.revision] + [kept]
    return found
