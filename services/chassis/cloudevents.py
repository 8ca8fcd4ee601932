"""CloudEvents 1.0 in binary mode over NATS: attributes as headers `ce-*`, a protobuf body, trace context.

Source: CloudEvents NATS protocol binding, section 3.1.
"""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.message import Message

from services.chassis import telemetry

CONTENT_TYPE = "application/protobuf"


def headers(*, event_id: str, source: str, subject: str, body: Message, time: datetime) -> dict[str, str]:
    """Return the headers of an event. `event_id` is also its Nats-Msg-Id, to discard repeats within the window."""
    return {
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "ce-source": source,
        "ce-type": f"io.yggdrasil.{body.DESCRIPTOR.full_name.removeprefix('yggdrasil.')}",
        "ce-subject": subject,
        "ce-time": time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "content-type": CONTENT_TYPE,
        "Nats-Msg-Id": event_id,
        **telemetry.inject(),
    }
