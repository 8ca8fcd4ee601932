"""The registry's records of devices, followed as they change: who may be here no more.

The bucket holds every device of the mesh, a bridge a few of them: a record is parsed only where it concerns one.
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
    """Where a bucket of another service ends now; its beginning where it is not there yet."""
    try:
        return await last_sequence(js, bucket.stream)
    except StoreUnavailableError:
        return 0


async def follow_devices(js: JetStreamContext, bridge: Bridge, after: int) -> None:
    """Tells the bridge of every change to a device that concerns it, until cancelled."""
    start = len(DEVICES.subject(""))
    async for batch in follow(js, DEVICES.stream, after=after):
        for record in batch:
            device_id = record.subject[start:]
            if bridge.tracks(device_id) and not record.deleted:
                facts = records.readable(DEVICES.name, device_id, record.data, _facts)
                if facts is not None:
                    bridge.on_device_changed(device_id, facts)


def _facts(data: bytes) -> DeviceFacts:
    return facts_of(pb.StoredDevice.FromString(data))
