"""Bulk registration of devices; a failure does not stop the rest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from services.chassis import buckets
from services.chassis.errors import RevisionConflictError
from services.domain import ids
from services.domain.errors import InvalidRequestError, YggError
from services.registry.errors import DeviceExistsError
from services.registry.model import DeviceRecord, DeviceState
from services.registry.ports import Clock, DeviceWriter, Index

MAX_DEVICES_PER_MESSAGE = 1000
MAX_FAILURES = 1000
"""Maximum failures that are listed; the rest is counted."""
MAX_SHOWN_BYTES = 63
"""Maximum length of an invalid id in a failure."""
_MAX_BATCHES_IN_FLIGHT = 4
"""Batches written concurrently, so that writing does not wait for the stream of requests."""


def check_batch(count: int) -> None:
    """Raise InvalidRequestError if a message has too many devices."""
    if count > MAX_DEVICES_PER_MESSAGE:
        raise InvalidRequestError(
            f"{count} devices in one message, at most {MAX_DEVICES_PER_MESSAGE} are allowed", field="devices"
        )


@dataclass(frozen=True, slots=True)
class NewDevice:
    """A device to register; `state` is None if it is unknown to this version."""

    id: str
    labels: Mapping[str, str]
    state: DeviceState | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A device that was not registered, its position in the whole stream, and the reason."""

    device_id: str
    position: int
    error: YggError


@dataclass(slots=True)
class Registrations:
    """Result of a registration: number of successes and failures, the first failures, and the highest revision."""

    registered: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    revision: int = 0


_Written = tuple[int, Sequence[NewDevice], asyncio.Task[Sequence[int | YggError]]]


@dataclass(frozen=True, slots=True)
class Registration:
    """Use cases. They return once the index has applied all writes."""

    writer: DeviceWriter
    index: Index
    clock: Clock

    async def register_all(self, batches: AsyncIterator[Sequence[NewDevice]]) -> Registrations:
        """Register every device of every batch. Raises InvalidRequestError if a batch is too large."""
        result, position = Registrations(), 0
        writing: deque[_Written] = deque()
        try:
            async for batch in batches:
                check_batch(len(batch))
                writing.append((position, batch, asyncio.create_task(self._write(batch))))
                position += len(batch)
                if len(writing) > _MAX_BATCHES_IN_FLIGHT:
                    _count(result, *(await _first(writing)))
            while writing:
                _count(result, *(await _first(writing)))
        finally:
            for _, _, task in writing:
                task.cancel()
        await self._await_index(result.revision)
        return result

    async def _await_index(self, revision: int) -> None:
        """Wait for the index as long as it makes progress: a million devices may take it a minute more."""
        before = None
        while not await self.index.reached(buckets.DEVICES.name, revision) and before != self.index.position():
            before = self.index.position()

    async def _write(self, batch: Sequence[NewDevice]) -> Sequence[int | YggError]:
        now = self.clock.now()
        results: list[int | YggError] = []
        valid: list[tuple[int, DeviceRecord]] = []
        for number, new in enumerate(batch):
            try:
                if new.state is None:
                    raise InvalidRequestError("the state is unknown to this version", field="state")
                valid.append((number, DeviceRecord(ids.device_id(new.id), new.state, now, ids.labels(new.labels))))
                results.append(0)
            except YggError as e:
                results.append(e)
        for (number, record), outcome in zip(valid, await self.writer.create_all([r for _, r in valid]), strict=True):
            conflict = isinstance(outcome, RevisionConflictError)
            results[number] = DeviceExistsError(record.id) if conflict else outcome
        return results


async def _first(
    writing: deque[_Written],
) -> tuple[int, Sequence[NewDevice], Sequence[int | YggError]]:
    position, batch, task = writing[0]
    results = await task
    writing.popleft()
    return position, batch, results


def _count(result: Registrations, position: int, batch: Sequence[NewDevice], results: Sequence[int | YggError]) -> None:
    for number, outcome in enumerate(results):
        if isinstance(outcome, int):
            result.registered += 1
            result.revision = max(result.revision, outcome)
            continue
        result.failed += 1
        if len(result.failures) < MAX_FAILURES:
            shown = ids.printable(batch[number].id).encode()[:MAX_SHOWN_BYTES].decode(errors="ignore")
            result.failures.append(Failure(shown, position + number, outcome))
