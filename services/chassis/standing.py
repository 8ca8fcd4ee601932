"""A device's standing as the registry tells or stores it."""

from __future__ import annotations

from services.domain.standing import Standing
from yggdrasil.registry.v1 import registry_pb2 as pb


def standing_of(device: pb.Device | pb.StoredDevice) -> Standing:
    """The standing; a state of a later version is `unknown`, and so not active."""
    known = device.state in pb.DeviceState.values()
    state = pb.DeviceState.Name(device.state).removeprefix("DEVICE_STATE_").lower() if known else "unknown"
    revoked = device.revoke_time
    return Standing(state, revoked.seconds + revoked.nanos / 1e9)
