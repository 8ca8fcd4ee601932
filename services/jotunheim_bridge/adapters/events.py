"""The port EventSink on the JetStream stream YGG_EVENTS, as CloudEvents in binary mode."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Sequence

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StorageType, StreamConfig

from services.chassis import cloudevents, codec, records, streams
from services.chassis.nats import convert_errors
from services.chassis.publisher import Publisher
from services.chassis.quota import GIB, StreamQuota
from services.domain import subjects
from services.domain.subjects import Kind
from services.jotunheim_bridge.ports import Watch
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

MAX_AGE_S = 7 * 24 * 3600
"""How long events are kept, in seconds."""
STORE_FRACTION = 0.4
MAX_BYTES = 8 * GIB
"""Default size of the stream: STORE_FRACTION of the NATS store, at most this; YGG_BRIDGE_EVENTS_BYTES overrides it."""
DUPLICATE_WINDOW_S = 120
"""How long the stream detects repeated events, in seconds."""
_KINDS = {
    pb.EVENT_KIND_ONLINE: Kind.ONLINE,
    pb.EVENT_KIND_OFFLINE: Kind.OFFLINE,
    pb.EVENT_KIND_CONTRACT: Kind.CONTRACT,
    pb.EVENT_KIND_EVENT: Kind.EVENT,
    pb.EVENT_KIND_TELEMETRY: Kind.TELEMETRY,
    pb.EVENT_KIND_REFUSED: Kind.REFUSED,
}


class JetStreamEvents:
    """Device events, kept for MAX_AGE_S seconds in at most `max_bytes` (None: a fraction of the NATS store)."""

    def __init__(self, client: Client, js: JetStreamContext, bridge_id: str, max_bytes: int | None = None) -> None:
        self._client, self._js, self._source = client, js, f"jotunheim_bridge/{bridge_id}"
        self._publisher = Publisher(client)
        self._quota = StreamQuota(STORE_FRACTION, MAX_BYTES, max_bytes)

    async def open(self) -> None:
        """Create the stream, or update its configuration."""
        await streams.ensure_stream(
            self._js,
            StreamConfig(
                name=subjects.EVENT_STREAM,
                subjects=[subjects.ALL_DEVICES],
                retention=RetentionPolicy.LIMITS,
                storage=StorageType.FILE,
                max_age=MAX_AGE_S,
                duplicate_window=DUPLICATE_WINDOW_S,
                allow_direct=True,
            ),
            self._quota,
        )
        with convert_errors("the event stream"):
            await self._publisher.open()

    async def publish(self, events: Sequence[pb.DeviceEvent]) -> None:
        """Publish events and return once all are stored; a repeat within DUPLICATE_WINDOW_S is stored once."""
        with convert_errors("the event stream"):
            await self._publisher.publish(
                (self._subject(event), event.SerializeToString(), self._headers(event)) for event in events
            )

    async def publish_unacknowledged(self, events: Sequence[pb.DeviceEvent]) -> None:
        """Publish without acknowledgement: telemetry is delivered at most once."""
        for event in events:
            with contextlib.suppress(nats.errors.Error):
                await self._client.publish(self._subject(event), event.SerializeToString())

    def _subject(self, event: pb.DeviceEvent) -> str:
        names = (event.capability, event.name) if event.capability else ()
        return subjects.device(event.device_id, _KINDS[event.kind], *names)

    def _headers(self, event: pb.DeviceEvent) -> dict[str, str]:
        time = codec.moment(event.time)
        return cloudevents.headers(
            event_id=_event_id(event), source=self._source, subject=event.device_id, body=event, time=time
        )

    async def last_sequence(self, device_id: str, boot_id: str) -> int:
        """Return the sequence of the last stored event of that boot, or 0 if the stream has none."""
        subject = subjects.device_filter(device_id, Kind.EVENT)
        with convert_errors("the event stream"):
            try:
                message = await self._js.get_last_msg(subjects.EVENT_STREAM, subject)
            except nats.js.errors.NotFoundError:
                return 0
        event = records.try_decode(subjects.EVENT_STREAM, device_id, message.data or b"", pb.DeviceEvent.FromString)
        return event.sequence if event is not None and event.boot_id == boot_id else 0

    async def watch(self, device_ids: Collection[str], kinds: Collection[int], after: int | None) -> Watch:
        """Return events after that sequence (None: the last one now), each once, in stream order.

        A slow reader or a NATS outage delays it, but loses nothing that the stream still has.
        """
        if after is None:
            after = await streams.last_sequence(self._js, subjects.EVENT_STREAM)
        filters = [subjects.device_filter(device_id) for device_id in dict.fromkeys(device_ids)]
        return Watch(after, self._events(filters or [subjects.device_filter()], frozenset(kinds), after))

    async def _events(
        self, filters: Sequence[str], kinds: frozenset[int], after: int
    ) -> AsyncIterator[tuple[int, pb.DeviceEvent]]:
        async for batch in streams.follow(self._js, subjects.EVENT_STREAM, filters, after=after):
            for record in batch:
                event = records.try_decode(
                    subjects.EVENT_STREAM, record.subject, record.data, pb.DeviceEvent.FromString
                )
                if event is not None and (not kinds or event.kind in kinds):
                    yield record.sequence, event


def _event_id(event: pb.DeviceEvent) -> str:
    if event.kind == pb.EVENT_KIND_EVENT:
        return f"{event.device_id}/{event.boot_id}/{event.sequence}"
    if event.kind == pb.EVENT_KIND_CONTRACT:
        return f"{event.device_id}/contract/{event.contract_revision}"
    if event.kind == pb.EVENT_KIND_REFUSED:
        return f"{event.device_id}/refused/{event.time.ToNanoseconds()}"
    return f"{event.session_id}/{_KINDS[event.kind].value}"
