"""Access of a device to the mesh, decided from its registry state and its certificate. Pure."""

from __future__ import annotations

from dataclasses import dataclass

ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class DeviceAccess:
    """A device's state, such as `active`. Certificates that began before `revoked_unix_s` are revoked."""

    state: str
    revoked_unix_s: float = 0


def denied_reason(device_id: str, state: str, revoked_unix_s: float, certified_unix_s: float) -> str:
    """Return why the device is denied access, or "" if it is admitted.

    A certificate with a validity from before `revoked_unix_s` is revoked; 0 if none was ever revoked.
    """
    if state != ACTIVE:
        return f"{device_id} is {state}, not active"
    if certified_unix_s < revoked_unix_s:
        return f"the certificate of {device_id} has been revoked"
    return ""
