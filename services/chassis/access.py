"""Conversion of the registry's device messages to DeviceAccess."""

from __future__ import annotations

from services.domain.access import DeviceAccess
from yggdrasil.registry.v1 import registry_pb2 as pb


def access_of(device: pb.Device | pb.StoredDevice) -> DeviceAccess:
    """Return the device's access; a state of a later version becomes `unknown`, which is not active."""
    known = device.state in pb.DeviceState.values()
    state = pb.DeviceState.Name(device.state).removeprefix("DEVICE_STATE_").lower() if known else "unknown"
    revoked = device.revoke_time
    return DeviceAccess(state, revoked.seconds + revoked.nanos / 1e9)
