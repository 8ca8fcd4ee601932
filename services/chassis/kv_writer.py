"""Pipelined creation of many keys of one bucket: all are sent before the first is acknowledged.

Like `publisher`, it needs one future per batch; unlike it, each key has its own result.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from nats.aio.client import Client
from nats.aio.msg import Msg

from services.chassis.errors import RevisionConflictError, StoreUnavailableError
from services.chassis.kv import BucketSpec
from services.chassis.nats import REQUEST_TIMEOUT_S, convert_errors, write_error
from services.domain import subjects
from services.domain.errors import YggError

_WRONG_LAST_SEQUENCE = 10071
"""JetStream's error code when the expected sequence is not the last one."""
_NEW = {"Nats-Expected-Last-Subject-Sequence": "0"}


@dataclass(slots=True)
class _Batch:
    done: asyncio.Event = field(default_factory=asyncio.Event)
    results: dict[int, int | YggError] = field(default_factory=dict)
    size: int = 0


class KvWriter:
    """Writes to one bucket over one connection. Call `open` first."""

    def __init__(self, client: Client, spec: BucketSpec) -> None:
        self._client, self._prefix, self._name = client, spec.subject(""), spec.name
        self._inbox = ""
        self._numbers = itertools.count(1)
        self._waiting: dict[str, tuple[_Batch, int]] = {}

    async def open(self) -> None:
        """Subscribe to acknowledgements, once; nats-py resubscribes after each reconnect."""
        self._inbox = self._client.new_inbox()
        await self._client.subscribe(f"{self._inbox}.*", cb=self._acknowledged)

    async def create(self, entries: Sequence[tuple[str, bytes]]) -> list[int | YggError]:
        """Return for each key the revision of its value, or the error.

        RevisionConflictError: the key exists or existed. StoreUnavailableError: no acknowledgement within
        REQUEST_TIMEOUT_S, so the outcome is unknown.
        """
        batch, sent = _Batch(size=len(entries)), list[str]()
        unknown = StoreUnavailableError(
            f"{self._name}: NATS does not answer", hint="Nothing was acknowledged; try again."
        )
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                with convert_errors(self._name):
                    for position, (key, value) in enumerate(entries):
                        reply = f"{self._inbox}.{next(self._numbers)}"
                        self._waiting[reply] = batch, position
                        sent.append(reply)
                        await self._client.publish(self._prefix + subjects.key(key), value, reply=reply, headers=_NEW)
                if entries:
                    await batch.done.wait()
        except (TimeoutError, StoreUnavailableError):
            pass  # keys without an acknowledgement get the error below
        finally:
            for reply in sent:
                self._waiting.pop(reply, None)
        return [batch.results.get(position, unknown) for position in range(len(entries))]

    async def _acknowledged(self, message: Msg) -> None:
        batch, position = self._waiting.pop(message.subject, (None, 0))
        if batch is None:
            return  # too late: the caller has given up
        batch.results[position] = self._result(message)
        if len(batch.results) == batch.size:
            batch.done.set()

    def _result(self, message: Msg) -> int | YggError:
        answer = json.loads(message.data) if message.data else {}
        error = answer.get("error", {})
        if "seq" in answer and not error:  # an error has a sequence, too: 0
            return int(answer["seq"])
        if error.get("err_code") == _WRONG_LAST_SEQUENCE:
            return RevisionConflictError(f"{self._name}: modified by another writer", hint="Read it again and retry.")
        return write_error(self._name, error.get("err_code", 0), error.get("description", "NATS rejects it"))
