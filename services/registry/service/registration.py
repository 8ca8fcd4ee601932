"""Making many devices known at once: what fails does not stop the rest."""

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

MAX_AT_ONCE = 1000
MAX_FAILURES = 1000
MAX_SHOWN_BYTES = 63
_IN_FLIGHT = 4


def check_batch(count: int) -> None:
    """Raise InvalidRequestError for more devices than one message may hold."""
    if count > MAX_AT_ONCE:
        raise InvalidRequestError(f"{count} devices in one message, at most {MAX_AT_ONCE} are allowed")


@dataclass(frozen=True, slots=True)
class NewDevice:
    """A device to make known; `state` None where it is none that this version knows."""

    id: str
    labels: Mapping[str, str]
    state: DeviceState | None


@dataclass(frozen=True, slots=True)
class Failed:
    """A device that was not registered, its position in the whole stream, and why."""

    device_id: str
    position: int
    error: YggError


@dataclass(slots=True)
class Registered:
    """What came of it: how many, how many not, the first of those, and the greatest revision written."""

    registered: int = 0
    failed: int = 0
    failures: list[Failed] = field(default_factory=list)
    revision: int = 0


_Written = tuple[int, Sequence[NewDevice], asyncio.Task[Sequence[int | YggError]]]


@dataclass(frozen=True, slots=True)
class Registration:
    """Use cases. The answer comes when the index has all that was written."""

    writer: DeviceWriter
    index: Index
    clock: Clock

    async def register_all(self, batches: AsyncIterator[Sequence[NewDevice]]) -> Registered:
        """Registers every device of every batch. Raises InvalidRequestError for a batch that is too large."""
        told, position = Registered(), 0
        writing: deque[_Written] = deque()
        try:
            async for batch in batches:
                check_batch(len(batch))
                writing.append((position, batch, asyncio.create_task(self._write(batch))))
                position += len(batch)
                if len(writing) > _IN_FLIGHT:
                    _tell(told, *(await _first(writing)))
            while writing:
                _tell(told, *(await _first(writing)))
        finally:
            for _, _, task in writing:
                task.cancel()
        await self._settled(told.revision)
        return told

    async def _settled(self, revision: int) -> None:
        """Waits for the index for as long as it comes nearer: a million devices may take it a minute longer."""
        before = None
        while not await self.index.reached(buckets.DEVICES.name, revision) and before != self.index.position():
            before = self.index.position()

    async def _write(self, batch: Sequence[NewDevice]) -> Sequence[int | YggError]:
        now = self.clock.now()
        answers: list[int | YggError] = []
        good: list[tuple[int, DeviceRecord]] = []
        for number, new in enumerate(batch):
            try:
                if new.state is None:
                    raise InvalidRequestError("the state is none that this version knows")
                good.append((number, DeviceRecord(ids.device_id(new.id), new.state, now, ids.labels(new.labels))))
                answers.append(0)
            except YggError as e:
                answers.append(e)
        for (number, record), answer in zip(good, await self.writer.create_all([r for _, r in good]), strict=True):
            conflict = isinstance(answer, RevisionConflictError)
            answers[number] = DeviceExistsError(record.id) if conflict else answer
        return answers


async def _first(
    writing: deque[_Written],
) -> tuple[int, Sequence[NewDevice], Sequence[int | YggError]]:
    position, batch, task = writing[0]
    answers = await task
    writing.popleft()
    return position, batch, answers


def _tell(told: Registered, position: int, batch: Sequence[NewDevice], answers: Sequence[int | YggError]) -> None:
    for number, answer in enumerate(answers):
        if isinstance(answer, int):
            told.registered += 1
            told.revision = max(told.revision, answer)
            continue
        told.failed += 1
        if len(told.failures) < MAX_FAILURES:
            shown = ids.printable(batch[number].id).encode()[:MAX_SHOWN_BYTES].decode(errors="ignore")
            told.failures.append(Failed(shown, position + number, answer))
