"""`python -m bench.link.bare_publisher URL IDENTITY TOTAL`: publish the messages of a bridge with nats-py alone.

Payloads, headers and subjects are those of events of simulated boards, prepared before the clock starts.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from services.chassis import cloudevents, nats
from services.chassis.identity import IdentityFiles
from services.domain import subjects
from yggdrasil.common.v1 import value_pb2
from yggdrasil.jotunheim.v1 import bridge_pb2 as pb

_DEVICES = 100


def event(number: int) -> pb.DeviceEvent:
    """Return the event of a pin change, as the bridge makes it."""
    made = pb.DeviceEvent(
        device_id=f"bare-{number % _DEVICES}",
        kind=pb.EVENT_KIND_EVENT,
        capability="gpio0",
        name="changed",
        fields={"pin": value_pb2.Value(int=0), "level": value_pb2.Value(bool=True)},
        boot_id=f"{time.time_ns():016x}",
        sequence=number,
    )
    made.time.GetCurrentTime()
    return made


def event_bytes(number: int) -> bytes:
    """Return the same event as stored."""
    return event(number).SerializeToString()


def _message(number: int) -> tuple[str, bytes, dict[str, str]]:
    made = event(number)
    head = cloudevents.headers(
        event_id=f"{made.device_id}/{made.boot_id}/{number}",
        source="jotunheim_bridge/bench",
        subject=made.device_id,
        body=made,
        time=datetime.now(UTC),
    )
    subject = subjects.device(made.device_id, subjects.Kind.EVENT, made.capability, made.name)
    return subject, made.SerializeToString(), head


async def main(url: str, identity: Path, total: int) -> None:
    """Print the seconds from the first publish to the last acknowledgement."""
    messages = [_message(number) for number in range(1, total + 1)]
    async with nats.connect(url, IdentityFiles(identity), "jotunheim_bridge") as connection:
        js = nats.jetstream(connection.client)
        started = time.monotonic()
        waiting = [await js.publish_async(subject, data, headers=head) for subject, data, head in messages]
        acknowledged = await asyncio.wait_for(asyncio.gather(*waiting), 120)
        took = time.monotonic() - started
    if any(ack.duplicate for ack in acknowledged):
        raise SystemExit("some messages were treated as duplicates")
    print(json.dumps({"seconds": took}), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
