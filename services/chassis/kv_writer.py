"""Many new keys of one bucket at once: all are sent before the first is answered, and each gets its own answer.

Like `publisher`, one future for many messages; unlike it, one refused write says nothing of the others.
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
from services.chassis.nats import REQUEST_TIMEOUT_S, converted, refused
from services.domain import subjects
from services.domain.errors import YggError

_WRONG_LAST_SEQUENCE = 10071
_NEW = {"Nats-Expected-Last-Subject-Sequence": "0"}


@dataclass(slots=True)
class _Batch:
    done: asyncio.Event = field(default_factory=asyncio.Event)
    answers: dict[int, int | YggError] = field(default_factory=dict)
    size: int = 0


class KvWriter:
    """Writes to one bucket over one connection; `open` comes first."""

    def __init__(self, client: Client, spec: BucketSpec) -> None:
        self._client, self._prefix, self._name = client, spec.subject(""), spec.name
        self._inbox = ""
        self._numbers = itertools.count(1)
        self._waiting: dict[str, tuple[_Batch, int]] = {}

    async def open(self) -> None:
        """Subscribes for answers, once; nats-py does it again after each reconnect."""
        self._inbox = self._client.new_inbox()
        await self._client.subscribe(f"{self._inbox}.*", cb=self._answered)

    async def create(self, entries: Sequence[tuple[str, bytes]]) -> list[int | YggError]:
        """For each key the revision that its value was stored with, or why it was not.

        RevisionConflictError: the key is there, or was. StoreUnavailableError: no answer within REQUEST_TIMEOUT_S, and
        nothing is known.
        """
        batch, sent = _Batch(size=len(entries)), list[str]()
        lost = StoreUnavailableError(f"{self._name}: NATS does not answer", hint="Nothing was acknowledged; try again.")
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                with converted(self._name):
                    for position, (key, value) in enumerate(entries):
                        reply = f"{self._inbox}.{next(self._numbers)}"
                        self._waiting[reply] = batch, position
                        sent.append(reply)
                        await self._client.publish(self._prefix + subjects.key(key), value, reply=reply, headers=_NEW)
                if entries:
                    await batch.done.wait()
        except (TimeoutError, StoreUnavailableError):
            pass  # each that has no answer says so
        finally:
            for reply in sent:
                self._waiting.pop(reply, None)
        return [batch.answers.get(position, lost) for position in range(len(entries))]

    async def _answered(self, message: Msg) -> None:
        batch, position = self._waiting.pop(message.subject, (None, 0))
        if batch is None:
            return  # too late: its caller has given up
        batch.answers[position] = self._answer(message)
        if len(batch.answers) == batch.size:
            batch.done.set()

    def _answer(self, message: Msg) -> int | YggError:
        answer = json.loads(message.data) if message.data else {}
        error = answer.get("error", {})
        if "seq" in answer and not error:  # a refusal has a sequence, too: 0
            return int(answer["seq"])
        if error.get("err_code") == _WRONG_LAST_SEQUENCE:
            return RevisionConflictError(
                f"{self._name}: somebody else wrote it first", hint="Read it again and repeat."
            )
        return refused(self._name, error.get("err_code", 0), error.get("description", "NATS does not take it"))
