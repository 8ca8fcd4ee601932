"""Messages of scripts as CloudEvents on NATS. Delivery is at most once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import nats.errors
from nats.aio.client import Client

from services.chassis import cloudevents, codec
from services.domain import subjects
from services.domain.errors import InvalidRequestError
from services.domain.values import Value
from services.loki.errors import PublishError
from services.loki.ports import Clock

MAX_MESSAGE_BYTES = 64 * 1024
TOPIC_HEADER = "ce-topic"
"""The topic as its script wrote it: `commands/stop-monitoring` is published on `commands.stop_monitoring`."""


class NatsPublisher:
    """Implements the port Publisher."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock = client, clock

    async def publish(self, program: str, topic: Sequence[str], value: Value, spelled: str = "") -> None:
        """Hand the message to NATS; raise InvalidRequestError for one too large, PublishError without connection."""
        body = codec.value_to_proto(value)
        payload = body.SerializeToString()
        if len(payload) > MAX_MESSAGE_BYTES:
            raise InvalidRequestError(
                f"a message of {len(payload)} bytes; at most {MAX_MESSAGE_BYTES} are allowed", hint="Send it in parts."
            )
        headers = cloudevents.headers(
            event_id=str(uuid.uuid4()),
            source=f"ygg://{subjects.TENANT}/loki/{program}",
            subject=".".join(topic),
            body=body,
            time=self._clock.now(),
        )
        if spelled:
            headers[TOPIC_HEADER] = spelled
        try:
            await self._client.publish(subjects.loki(program, "message", *topic), payload, headers=headers)
        except (nats.errors.Error, ConnectionError) as e:
            raise PublishError(f"the message was not published: {e}", hint="Try again in a moment.") from e
