"""JetStream streams: created by their owner, followed from a sequence by services that keep a view of them.

`follow` makes a read side rebuildable: it continues after the last sequence that its caller applied, through restarts
of the server and losses of the consumer. It keeps no durable consumer, so nothing remains to be cleaned up.
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
from services.chassis.nats import STORAGE_FULL, convert_errors
from services.chassis.quota import MIN_STREAM_BYTES, StreamQuota, store_bytes

BATCH_MESSAGES = 256
"""Maximum messages of a batch."""
IDLE_S = 5.0
"""Timeout of a fetch without messages, in seconds; then the consumer is checked."""
RETRY_S = 0.25
"""Pause before a failed consumer is created again, in seconds."""
_INACTIVE_S = 30.0
"""Time after which NATS deletes a consumer that is not used, in seconds: longer than an idle fetch."""
_NAME_IN_USE = 10058
"""JetStream's error code when a stream exists with another configuration."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """A message of a stream. `pending` is the number of further messages when it was delivered."""

    subject: str
    sequence: int
    data: bytes
    pending: int
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def deleted(self) -> bool:
        """True for the marker of a deleted or expired key of a key-value bucket."""
        return "KV-Operation" in self.headers or "Nats-Marker-Reason" in self.headers


async def ensure_stream(js: JetStreamContext, config: StreamConfig, quota: StreamQuota | None = None) -> None:
    """Create or update the stream; `quota` determines its `max_bytes`. For the service that owns it.

    An existing stream never prevents a start: if NATS rejects the new size for lack of space, it keeps its size. Unless
    the operator has set the size, it is never smaller than the stream's content, and is halved until it fits.
    Raises StoreFullError if a missing stream cannot be added for lack of space.
    """
    name = config.name or ""
    size = quota.of(await store_bytes(js)) if quota else config.max_bytes
    with convert_errors(f"stream {name}"):
        try:
            size_bytes = (await js.stream_info(name)).state.bytes
        except nats.js.errors.NotFoundError:
            if await _add(js, config, size, quota):
                return
            size_bytes = (await js.stream_info(name)).state.bytes  # another replica was faster
        if quota and quota.fixed_bytes is None:
            size = max(size or 0, size_bytes)
        try:
            await js.update_stream(config.evolve(max_bytes=size))
        except nats.js.errors.APIError as e:
            if e.err_code not in STORAGE_FULL:
                raise
            _log.warning(
                "stream resize rejected", extra={"stream": name, "requested_bytes": size, "why": e.description}
            )


async def _add(js: JetStreamContext, config: StreamConfig, size: int | None, quota: StreamQuota | None) -> bool:
    """Add the stream; return False if it exists by now."""
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
            fixed = not quota or quota.fixed_bytes is not None
            if e.err_code not in STORAGE_FULL or fixed or smaller < MIN_STREAM_BYTES:
                raise
            size = smaller


async def last_sequence(js: JetStreamContext, stream: str) -> int:
    """Return the sequence of the stream's last message, 0 if it never had one."""
    with convert_errors(f"stream {stream}"):
        return (await js.stream_info(stream)).state.last_seq


async def follow(
    js: JetStreamContext, stream: str, subjects: Sequence[str] = (), *, after: int = 0
) -> AsyncIterator[list[Record]]:
    """Yield batches in order, forever, from the first message after sequence `after`; none is lost or repeated.

    An empty batch means that the caller has caught up with the stream.
    """
    while True:
        try:
            async for batch in _consume(js, stream, subjects, after):
                after = batch[-1].sequence if batch else after
                yield batch
            _log.info("follow resumed", extra={"stream": stream, "after": after, "why": "messages were lost"})
        except (StoreUnavailableError, nats.errors.Error, TimeoutError) as e:
            _log.info("follow resumed", extra={"stream": stream, "after": after, "why": str(e) or type(e).__name__})
            await asyncio.sleep(RETRY_S)


async def read(
    js: JetStreamContext, stream: str, subjects: Sequence[str] = (), *, latest: bool = False
) -> AsyncGenerator[list[Record], None]:
    """Yield the stream's current messages in batches, in order; with `latest` only the last of each subject.

    Raises StoreUnavailableError if the stream could not be read completely.
    """
    async with contextlib.aclosing(_consume(js, stream, subjects or (">",), 0, latest=latest)) as batches:
        async for batch in batches:
            if not batch:
                return
            yield batch
    raise StoreUnavailableError(f"messages of {stream} were lost in transit", hint="Try again.")


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
    with convert_errors(f"consumer of {stream}"):
        info = await js.add_consumer(stream, config)
        subscription = await js.pull_subscribe_bind(consumer=info.name, stream=stream)
    received = 0
    try:
        pending = info.num_pending or 0
        if pending == 0:
            yield []
        while True:
            try:
                # Never more than are pending: fetch() waits until it has the in_order batch or times out.
                messages = await subscription.fetch(max(1, min(BATCH_MESSAGES, pending)), timeout=IDLE_S)
            except TimeoutError:  # nats.errors.TimeoutError is a subclass, and fetch() raises both
                with convert_errors(f"consumer of {stream}"):
                    state = (
                        await subscription.consumer_info()
                    )  # raises if the consumer is gone, so that a new one is created
                if state.delivered and state.delivered.consumer_seq != received:
                    return  # the last messages were lost in transit; only a new consumer resends them
                continue
            finally:
                _raise_cancellation()
            in_order = [m for number, m in enumerate(messages, received + 1) if m.metadata.sequence.consumer == number]
            received += len(in_order)
            batch = [
                Record(m.subject, m.metadata.sequence.stream, m.data, m.metadata.num_pending or 0, m.headers or {})
                for m in in_order
            ]
            if batch:  # an empty batch would mean that the caller has caught up
                yield batch
            if len(in_order) < len(messages):
                return  # a broken connection lost some messages before these
            pending = batch[-1].pending if batch else 0
            if batch and pending == 0:
                yield []
    finally:
        await _delete_consumer(js, stream, info.name)


def _raise_cancellation() -> None:
    """Raise a pending cancellation. Before Python 3.12 wait_for, which fetch() uses, loses one that arrives with its
    result.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _delete_consumer(js: JetStreamContext, stream: str, consumer: str) -> None:
    try:
        await js.delete_consumer(stream, consumer)
    except (nats.errors.Error, TimeoutError, ConnectionError) as e:
        _log.debug("consumer deletion failed", extra={"stream": stream, "why": str(e)})
