"""What reaches handlers of programs: events of devices from the event stream, and messages that scripts publish."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from services.chassis import codec
from services.chassis.errors import StoreUnavailableError
from services.chassis.streams import Record, follow, last_sequence
from services.domain import subjects
from services.domain.subjects import Kind
from services.domain.values import Value
from services.loki.adapters.publisher import TOPIC_HEADER
from services.loki.engines import wire
from services.loki.programs.manager import EVERY_MESSAGE
from yggdrasil.common.v1 import value_pb2
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

RETRY_S = 1.0
_log = logging.getLogger(__name__)
MAX_TOPIC_CHARS = 255


class Dispatch(Protocol):
    """Posts an event to the listeners of its keys."""

    def __call__(self, keys: Iterable[str], cause: str, value: str, sender: str = "") -> None:
        """Post an event. `value` is JSON; `sender` is the program that sent the message: EVERY_MESSAGE skips it."""


class ProgramEvents:
    """`run` must run; `dispatch` gets the keys of handlers, the cause in words, and the value as JSON of the wire."""

    def __init__(
        self, client: Client, js: JetStreamContext, dispatch: Dispatch, listens: Callable[[str], bool]
    ) -> None:
        self._client, self._js, self._dispatch, self._listens = client, js, dispatch, listens

    async def run(self) -> None:
        """Receive events until cancelled."""
        await self._client.subscribe(f"ygg.v1.{subjects.TENANT}.loki.*.message.>", cb=self._message)
        after = await self._present()
        filters = [subjects.device_filter(None, kind) for kind in (Kind.EVENT, Kind.ONLINE, Kind.OFFLINE)]
        async for batch in follow(self._js, subjects.EVENT_STREAM, filters, after=after):
            for record in batch:
                self._event(record)
            await asyncio.sleep(0)

    async def _present(self) -> int:
        while True:
            try:
                return await last_sequence(self._js, subjects.EVENT_STREAM)
            except StoreUnavailableError:  # no bridge has made the stream yet
                await asyncio.sleep(RETRY_S)

    def _event(self, record: Record) -> None:
        try:
            event = pb.DeviceEvent.FromString(record.data)
        except DecodeError:
            return
        path = f"{event.capability}.{event.name}" if event.capability else record.subject.rpartition(".")[2]
        keys = [key for key in (f"event:{event.device_id}/{path}", f"event:*/{path}") if self._listens(key)]
        if not keys:
            return
        content: dict[str, Value] = {
            "device": event.device_id,
            "capability": event.capability,
            "name": event.name or path,
            "fields": {**codec.values_from_proto(event.fields)},
            "time": codec.moment(event.time).timestamp(),
        }
        self._dispatch(keys, f"event {path} of {event.device_id}", wire.dump(wire.to_json(content)).decode())

    async def _message(self, message: Msg) -> None:
        parts = message.subject.split(".")
        topic = ".".join(parts[6:])  # ygg.v1.main.loki.PROGRAM.message.TOPIC
        keys = [key for key in (f"message:{topic}", EVERY_MESSAGE) if self._listens(key)]
        if not keys:
            return
        try:
            value = codec.value_from_proto(value_pb2.Value.FromString(message.data))
        except (DecodeError, ValueError):
            return
        content: dict[str, Value] = {"topic": topic, "from": parts[4], "value": value}
        spelled = (message.headers or {}).get(TOPIC_HEADER, "")
        if spelled:
            content["spelled"] = spelled[:MAX_TOPIC_CHARS]
        self._dispatch(keys, f"message {topic}", wire.dump(wire.to_json(content)).decode(), parts[4])
