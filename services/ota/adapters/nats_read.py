"""Reads all messages of a subject in order, a bounded number at a time."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api

from services.chassis.nats import REQUEST_TIMEOUT_S, convert_errors

BATCH = 8
_INACTIVE_S = 30.0


async def messages(js: JetStreamContext, stream: str, subject: str) -> AsyncGenerator[Msg, None]:
    """Yield every message of `subject` that existed at the start, in order; at most BATCH of them are buffered.

    Raises StoreUnavailableError if NATS does not answer, or if messages disappear meanwhile.
    """
    config = api.ConsumerConfig(
        filter_subject=subject,
        deliver_policy=api.DeliverPolicy.ALL,
        ack_policy=api.AckPolicy.NONE,
        inactive_threshold=_INACTIVE_S,
        mem_storage=True,
        num_replicas=1,
    )
    what = f"stream {stream}"
    with convert_errors(what):
        info = await js.add_consumer(stream, config)
        subscription = await js.pull_subscribe_bind(consumer=info.name, stream=stream)
    left = info.num_pending or 0
    try:
        while left > 0:
            with convert_errors(what):
                batch = await subscription.fetch(min(BATCH, left), timeout=REQUEST_TIMEOUT_S)
            for message in batch:
                yield message
            left = min(left - len(batch), batch[-1].metadata.num_pending or 0)
    finally:
        with contextlib.suppress(nats.errors.Error, TimeoutError, ConnectionError):
            await subscription.unsubscribe()
            await js.delete_consumer(stream, info.name)
