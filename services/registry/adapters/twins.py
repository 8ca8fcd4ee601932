"""The port TwinStore on the buckets `twin_desired`, `twin_reported` and `twin_programs`, compare-and-set on each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from nats.js import JetStreamContext

from services.chassis import codec, records
from services.chassis.buckets import TWIN_DESIRED, TWIN_PROGRAMS, TWIN_REPORTED
from services.chassis.kv import Bucket, BucketSpec
from services.chassis.streams import Record, follow, last_sequence, read
from services.domain.errors import InvalidRequestError
from services.domain.twin import Entry, Path, Side
from services.registry.model import ProgramsSide, TwinSide
from services.registry.ports import ProgramsChange, StoredPrograms, StoredSide, TwinChange, TwinPosition
from services.registry.programs_codec import programs_from_bytes, programs_to_bytes
from yggdrasil.registry.v1 import twin_pb2 as pb

SCHEMA = 1
MAX_BYTES = 16 * 1024
"""Maximum size of a stored side."""
_T = TypeVar("_T")
_SPECS = {TwinSide.DESIRED: TWIN_DESIRED, TwinSide.REPORTED: TWIN_REPORTED}


def side_to_proto(device_id: str, side: Side) -> pb.StoredTwin:
    """Return the record of a side, its properties ordered by path."""
    return pb.StoredTwin(
        schema=SCHEMA,
        device_id=device_id,
        revision=side.revision,
        properties=[
            pb.StoredTwinProperty(
                capability_id=path[0],
                property=path[1],
                value=codec.value_to_proto(entry.value),
                revision=entry.revision,
                time=codec.timestamp(entry.time),
                problem=entry.problem,
                problem_revision=entry.problem_revision,
                settled_revision=entry.settled_revision,
            )
            for path, entry in sorted(side.entries.items())
        ],
        time=codec.timestamp(side.time),
        author=side.author,
        contract_revision=side.contract_revision,
        session_epoch=side.session_epoch,
    )


def side_from_bytes(data: bytes) -> Side:
    """Return the side of a record."""
    stored = pb.StoredTwin.FromString(data)
    entries: dict[Path, Entry] = {
        (one.capability_id, one.property): Entry(
            codec.value_from_proto(one.value),
            one.revision,
            codec.moment(one.time),
            one.problem,
            one.problem_revision,
            one.settled_revision,
        )
        for one in stored.properties
    }
    return Side(
        stored.revision,
        entries,
        codec.moment(stored.time),
        stored.author,
        stored.contract_revision,
        stored.session_epoch,
    )


def side_to_bytes(device_id: str, side: Side) -> bytes:
    """Return the serialised record; raises InvalidRequestError if it exceeds MAX_BYTES."""
    data = side_to_proto(device_id, side).SerializeToString(deterministic=True)
    if len(data) > MAX_BYTES:
        raise InvalidRequestError(f"the document is {len(data)} bytes with this, at most {MAX_BYTES} are allowed")
    return data


@dataclass(frozen=True, slots=True)
class KvTwinStore:
    """The port TwinStore."""

    js: JetStreamContext
    buckets: dict[TwinSide, Bucket]
    program_reports: Bucket

    @classmethod
    async def open(cls, js: JetStreamContext) -> KvTwinStore:
        """Open the buckets; create missing ones."""
        sides = {side: await Bucket.create(js, spec) for side, spec in _SPECS.items()}
        return cls(js, sides, await Bucket.create(js, TWIN_PROGRAMS))

    async def get(self, which: TwinSide, device_id: str) -> StoredSide:
        """Return the side, empty if nothing was written."""
        entry = await self.buckets[which].get(device_id)
        if entry is None:
            return StoredSide(Side())
        return StoredSide(records.decode(_SPECS[which].name, device_id, entry.value, side_from_bytes), entry.revision)

    async def put(self, which: TwinSide, device_id: str, side: Side, key_revision: int) -> StoredSide:
        """Write a side on top of `key_revision` (0: new); raises RevisionConflictError or InvalidRequestError."""
        data, bucket = side_to_bytes(device_id, side), self.buckets[which]
        if key_revision:
            return StoredSide(side, await bucket.update(device_id, data, key_revision))
        return StoredSide(side, await bucket.create_key(device_id, data))

    async def history(self, which: TwinSide, device_id: str) -> Sequence[Side]:
        """Return the retained versions, oldest first."""
        spec = _SPECS[which]
        batches = read(self.js, spec.stream, [spec.subject(device_id)])
        kept = [record.data async for batch in batches for record in batch if not record.deleted]
        found = [records.try_decode(spec.name, device_id, data, side_from_bytes) for data in kept]
        return [side for side in found if side is not None]

    async def position(self) -> TwinPosition:
        """Return the current end of the sides."""
        specs = (*_SPECS.values(), TWIN_PROGRAMS)
        return TwinPosition(*[await last_sequence(self.js, spec.stream) for spec in specs])

    async def device_ids(self) -> AsyncIterator[str]:
        """Yield every device that has a twin, once."""
        seen = set[str]()
        for spec in (*_SPECS.values(), TWIN_PROGRAMS):
            async for batch in read(self.js, spec.stream, latest=True):
                for device_id in [_key(spec, record) for record in batch]:
                    if device_id not in seen:
                        seen.add(device_id)
                        yield device_id

    async def follow(self, which: TwinSide, device_ids: Collection[str], after: int) -> AsyncIterator[TwinChange]:
        """Yield the changes of one side after a sequence, forever."""
        spec = _SPECS[which]
        async for batch in follow(self.js, spec.stream, [spec.subject(one) for one in device_ids], after=after):
            for record in batch:
                side = _readable(spec, record, side_from_bytes)
                if side is not None:
                    yield TwinChange(which, _key(spec, record), side, record.sequence)

    async def programs(self, device_id: str) -> StoredPrograms:
        """Return the programs, none if nothing was written."""
        entry = await self.program_reports.get(device_id)
        if entry is None:
            return StoredPrograms(ProgramsSide())
        programs = records.decode(TWIN_PROGRAMS.name, device_id, entry.value, programs_from_bytes)
        return StoredPrograms(programs, entry.revision)

    async def put_programs(self, device_id: str, side: ProgramsSide, key_revision: int) -> StoredPrograms:
        """Write the programs on top of `key_revision` (0: new); raises RevisionConflictError."""
        data = programs_to_bytes(device_id, side)
        if key_revision:
            return StoredPrograms(side, await self.program_reports.update(device_id, data, key_revision))
        return StoredPrograms(side, await self.program_reports.create_key(device_id, data))

    async def follow_programs(self, device_ids: Collection[str], after: int) -> AsyncIterator[ProgramsChange]:
        """Yield the changes of programs after a sequence, forever."""
        spec = TWIN_PROGRAMS
        async for batch in follow(self.js, spec.stream, [spec.subject(one) for one in device_ids], after=after):
            for record in batch:
                side = _readable(spec, record, programs_from_bytes)
                if side is not None:
                    yield ProgramsChange(_key(spec, record), side, record.sequence)

    async def with_programs(self) -> AsyncIterator[str]:
        """Yield every device that has programs, once."""
        async for batch in read(self.js, TWIN_PROGRAMS.stream, latest=True):
            for record in batch:
                side = _readable(TWIN_PROGRAMS, record, programs_from_bytes)
                if side is not None and side.programs:
                    yield _key(TWIN_PROGRAMS, record)


def _key(spec: BucketSpec, record: Record) -> str:
    return record.subject.removeprefix(spec.subject(""))


def _readable(spec: BucketSpec, record: Record, parse: Callable[[bytes], _T]) -> _T | None:
    """Return None also for a delete marker."""
    return None if record.deleted else records.try_decode(spec.name, _key(spec, record), record.data, parse)
