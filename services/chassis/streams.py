"""JetStream streams: made by their owner, followed from a sequence by whoever keeps a view of them.

`follow` is what makes a read side rebuildable: it goes on after the last sequence that its caller applied, through
restarts of the server and losses of the consumer. It keeps no durable consumer, so that nothing is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig

from services.chassis.errors import StoreUnavailableError
from services.chassis.nats import NO_ROOM, converted
from services.chassis.room import MIN_STREAM_BYTES, Room, store_bytes

BATCH = 256
IDLE_S = 5.0
RETRY_S = 0.25
_INACTIVE_S = 30.0
_NAME_IN_USE = 10058
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """A message of a stream. `pending` is how many more there were when it was delivered."""

    subject: str
    sequence: int
    data: bytes
    pending: int
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def deleted(self) -> bool:
        """The marker of a deleted or expired key of a key-value bucket."""
        return "KV-Operation" in self.headers or "Nats-Marker-Reason" in self.headers


async def ensure_stream(js: JetStreamContext, config: StreamConfig, room: Room | None = None) -> None:
    """Update the stream, or add it when it is missing; `room` gives its `max_bytes`. For the service that owns it.

    A stream that is there is never a reason not to start: when NATS refuses the new size for lack of room, it stays as
    it is. A size of ours, other than the operator's, never drops what the stream holds, and is halved until it fits.
    Raises StoreFullError when a missing stream cannot be added for lack of room.
    """
    name = config.name or ""
    size = room.of(await store_bytes(js)) if room else config.max_bytes
    with converted(f"stream {name}"):
        try:
            held = (await js.stream_info(name)).state.bytes
        except nats.js.errors.NotFoundError:
            if await _added(js, config, size, room):
                return
            held = (await js.stream_info(name)).state.bytes  # another replica was faster
        if room and room.fixed_bytes is None:
            size = max(size or 0, held)
        try:
            await js.update_stream(config.evolve(max_bytes=size))
        except nats.js.errors.APIError as e:
            if e.err_code not in NO_ROOM:
                raise
            _log.warning("stream keeps its size", extra={"stream": name, "wanted_bytes": size, "why": e.description})


async def _added(js: JetStreamContext, config: StreamConfig, size: int | None, room: Room | None) -> bool:
    """Whether the stream was added; False when it is there by now."""
    while True:
        try:
            await js.add_stream(config.evolve(max_bytes=size))
            return True
        except nats.js.errors.BadRequestError as e:
            if e.err_code == _NAME_IN_USE:
                return False
            raise
        except nats.js.errors.APIError as e:
            smaller = (size or 0) // 2
            if e.err_code not in NO_ROOM or not room or room.fixed_bytes is not None or smaller < MIN_STREAM_BYTES:
                raise
            size = smaller


async def last_sequence(js: JetStreamContext, stream: str) -> int:
    """The sequence of the stream's last message, 0 where it never had one."""
    with converted(f"stream {stream}"):
        return (await js.stream_info(stream)).state.last_seq


async def follow(
    js: JetStreamContext, stream: str, subjects: Sequence[str] = (), *, after: int = 0
) -> AsyncIterator[list[Record]]:
    """Yields batches in order, from the first message after sequence `after`, for ever; none is lost or told twice.

    An empty batch means that there was nothing more to read just now: the caller has caught up.
    """
    while True:
        try:
            async for batch in _consume(js, stream, subjects, after):
                after = batch[-1].sequence if batch else after
                yield batch
            _log.info("following again", extra={"stream": stream, "after": after, "why": "messages were lost"})
        except (StoreUnavailableError, nats.errors.Error, TimeoutError) as e:
            _log.info("following again", extra={"stream": stream, "after": after, "why": str(e) or type(e).__name__})
            await asyncio.sleep(RETRY_S)


async def read(
    js: JetStreamContext, stream: str, subjects: Sequence[str] = (), *, latest: bool = False
) -> AsyncGenerator[list[Record], None]:
    """Yields batches of what is in the stream now, in order, then ends; `latest`: each subject's last message only.

    Raises StoreUnavailableError where it could not be read to its end.
    """
    async with contextlib.aclosing(_consume(js, stream, subjects or (">",), 0, latest=latest)) as batches:
        async for batch in batches:
            if not batch:
                return
            yield batch
    raise StoreUnavailableError(f"messages of {stream} were lost on the way", hint="Try again.")


async def _consume(
    js: JetStreamContext, stream: str, subjects: Sequence[str], after: int, *, latest: bool = False
) -> AsyncGenerator[list[Record], None]:
    beginning = DeliverPolicy.LAST_PER_SUBJECT if latest else DeliverPolicy.ALL
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE if after else beginning,
        opt_start_seq=after + 1 if after else None,
        ack_policy=AckPolicy.NONE,
        filter_subjects=list(subjects) if len(subjects) > 1 else None,
        filter_subject=subjects[0] if len(subjects) == 1 else None,
        inactive_threshold=_INACTIVE_S,
        mem_storage=True,
        num_replicas=1,
    )
    with converted(f"consumer of {stream}"):
        info = await js.add_consumer(stream, config)
        subscription = await js.pull_subscribe_bind(consumer=info.name, stream=stream)
    received = 0
    try:
        pending = info.num_pending or 0
        if pending == 0:
            yield []
        while True:
            try:
                # Never more than there is: fetch() waits until it has all it asked for, or its time is up.
                messages = await subscription.fetch(max(1, min(BATCH, pending)), timeout=IDLE_S)
            except TimeoutError:  # nats.errors.TimeoutError is one, and fetch() raises both
                with converted(f"consumer of {stream}"):
                    known = await subscription.consumer_info()  # raises when it is gone, so that a new one is made
                if known.delivered and known.delivered.consumer_seq != received:
                    return  # the last ones were lost on the way; only a new consumer sends them again
                continue
            finally:
                _heed_cancellation()
            whole = [m for number, m in enumerate(messages, received + 1) if m.metadata.sequence.consumer == number]
            received += len(whole)
            batch = [
                Record(m.subject, m.metadata.sequence.stream, m.data, m.metadata.num_pending or 0, m.headers or {})
                for m in whole
            ]
            if batch:  # an empty one would say that there is nothing more
                yield batch
            if len(whole) < len(messages):
                return  # a cut of the network took some before these
            pending = batch[-1].pending if batch else 0
            if batch and pending == 0:
                yield []
    finally:
        await _forget(js, stream, info.name)


def _heed_cancellation() -> None:
    """Before Python 3.12 wait_for, which fetch() uses, loses a cancellation that comes together with its result."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _forget(js: JetStreamContext, stream: str, consumer: str) -> None:
    try:
        await js.delete_consumer(stream, consumer)
    except (nats.errors.Error, TimeoutError, ConnectionError) as e:
        _log.debug("consumer left to expire", extra={"stream": stream, "why": str(e)})
