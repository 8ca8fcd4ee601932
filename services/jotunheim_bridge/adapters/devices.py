"""Follows the registry's device records, so that a device without access loses its session.

The bucket holds every device of the mesh, a bridge serves a few of them: only records of tracked devices are parsed.
"""

from __future__ import annotations

from nats.js import JetStreamContext

from services.chassis import records
from services.chassis.buckets import DEVICES
from services.chassis.errors import StoreUnavailableError
from services.chassis.kv import BucketSpec
from services.chassis.streams import follow, last_sequence
from services.jotunheim_bridge.adapters.registry import facts_of
from services.jotunheim_bridge.ports import DeviceFacts
from services.jotunheim_bridge.service.bridge import Bridge
from yggdrasil.registry.v1 import registry_pb2 as pb


async def position(js: JetStreamContext, bucket: BucketSpec) -> int:
    """Return the last sequence of another service's bucket, or 0 if the bucket does not exist yet."""
    try:
        return await last_sequence(js, bucket.stream)
    except StoreUnavailableError:
        return 0


async def follow_devices(js: JetStreamContext, bridge: Bridge, after: int) -> None:
    """Pass every change of a tracked device to the bridge, until cancelled."""
    start = len(DEVICES.subject(""))
    async for batch in follow(js, DEVICES.stream, after=after):
        for record in batch:
            device_id = record.subject[start:]
            if bridge.tracks(device_id) and not record.deleted:
                facts = records.try_decode(DEVICES.name, device_id, record.data, _facts)
                if facts is not None:
                    bridge.on_device_changed(device_id, facts)


def _facts(data: bytes) -> DeviceFacts:
    return facts_of(pb.StoredDevice.FromString(data))
