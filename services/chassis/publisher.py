"""Pipelined publishing of batches to JetStream: one wait for the acknowledgements of a whole batch.

Does the same as nats-py's publish_async at a third of its cost per message: one future per batch instead of per
message, and reply subjects that count up instead of random ones under an inbox that is already random.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass

import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.chassis.nats import REQUEST_TIMEOUT_S

MAX_BATCHES = 128
"""Maximum concurrent batches; more wait, so that memory is bounded while NATS is slow."""
Message = tuple[str, bytes, dict[str, str]]
"""Subject, payload, headers."""


@dataclass(slots=True)
class _Batch:
    done: asyncio.Future[None]
    missing: int = 0

    def acknowledge(self) -> None:
        self.missing -= 1
        if self.missing == 0 and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Publisher:
    """Publishes over one connection, at most MAX_BATCHES concurrent batches. Call `open` first."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = ""
        self._numbers = itertools.count(1)
        self._waiting: dict[str, _Batch] = {}
        self._slots = asyncio.Semaphore(MAX_BATCHES)

    async def open(self) -> None:
        """Subscribe to acknowledgements, once; nats-py resubscribes after each reconnect."""
        if not self._inbox:
            self._inbox = self._client.new_inbox()
            await self._client.subscribe(f"{self._inbox}.*", cb=self._acknowledged)

    async def publish(self, messages: Iterable[Message]) -> None:
        """Publish in order; return once all are acknowledged. Repeats by Nats-Msg-Id are stored once.

        Raises nats-py's exceptions if one is rejected or no stream accepts it, and TimeoutError after
        REQUEST_TIMEOUT_S.
        """
        async with self._slots:
            batch = _Batch(asyncio.get_running_loop().create_future(), missing=1)  # +1: not complete while sending
            sent: list[str] = []
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    for subject, payload, headers in messages:
                        reply = f"{self._inbox}.{next(self._numbers)}"
                        self._waiting[reply] = batch
                        sent.append(reply)
                        batch.missing += 1
                        await self._client.publish(subject, payload, reply=reply, headers=headers)
                    batch.acknowledge()
                    await batch.done
            finally:
                for reply in sent:
                    self._waiting.pop(reply, None)
                batch.done.cancel()

    async def _acknowledged(self, message: Msg) -> None:
        batch = self._waiting.pop(message.subject, None)
        if batch is None:
            return  # too late: the publisher has given up
        if message.headers and message.headers.get("Status") == "503":
            batch.fail(nats.js.errors.NoStreamResponseError())
        elif b'"error"' in message.data and (error := json.loads(message.data).get("error")):
            try:
                nats.js.errors.APIError.from_error(error)  # always raises
            except nats.js.errors.APIError as e:
                batch.fail(e)
        else:
            batch.acknowledge()
