"""The port Events on the JetStream stream YGG_OTA, as CloudEvents in binary mode; kept for MAX_AGE_S seconds.

The event `attend` wakes bridges: ota has something for a device. It is repeated until it takes effect.
"""

from __future__ import annotations

import logging
import uuid

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StorageType, StreamConfig

from services.chassis import cloudevents, streams
from services.chassis.clock import SystemClock
from services.chassis.quota import GIB, StreamQuota
from services.domain import subjects
from yggdrasil.ota.v1 import rollout_pb2 as pb

MAX_AGE_S = 30 * 24 * 3600
STORE_FRACTION = 0.05
MAX_BYTES = GIB
_log = logging.getLogger(__name__)


class NatsEvents:
    """Events are published without waiting for the stream: the state is in the buckets, events only notify."""

    def __init__(self, client: Client, js: JetStreamContext, instance_id: str, max_bytes: int | None = None) -> None:
        """`max_bytes` is the size of the stream; None: STORE_FRACTION of the NATS store, at most MAX_BYTES."""
        self._quota = StreamQuota(STORE_FRACTION, MAX_BYTES, max_bytes)
        self._client, self._js, self._source, self._clock = client, js, f"ota/{instance_id}", SystemClock()

    async def open(self) -> None:
        """Create the stream, or update its configuration."""
        config = StreamConfig(
            name=subjects.OTA_STREAM,
            subjects=[subjects.ALL_ROLLOUTS],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            max_age=MAX_AGE_S,
            allow_direct=True,
        )
        await streams.ensure_stream(self._js, config, self._quota)

    async def publish(self, rollout_id: str, kind: str, device_id: str = "", text: str = "") -> None:
        """See the port."""
        body = pb.RolloutEvent(rollout_id=rollout_id, kind=kind, device_id=device_id, text=text)
        headers = cloudevents.headers(
            event_id=str(uuid.uuid4()),
            source=self._source,
            subject=device_id or rollout_id,
            body=body,
            time=self._clock.now(),
        )
        try:
            await self._client.publish(subjects.ota(rollout_id, kind), body.SerializeToString(), headers=headers)
        except (nats.errors.Error, ConnectionError) as e:
            _log.warning("event publish failed", extra={"rollout": rollout_id, "kind": kind, "why": str(e)})
