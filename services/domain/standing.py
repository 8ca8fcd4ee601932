"""Whether a device may be here: what the registry says of it against the certificate that it came with. Pure."""

from __future__ import annotations

from dataclasses import dataclass

ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class Standing:
    """A device's state, such as `active`. Certificates that began before `revoked_unix_s` are void."""

    state: str
    revoked_unix_s: float = 0


def objection(device_id: str, state: str, revoked_unix_s: float, certified_unix_s: float) -> str:
    """Why the device may not be here; empty where it may.

    A certificate is void that holds from before `revoked_unix_s` on (0: none was ever revoked).
    """
    if state != ACTIVE:
        return f"{device_id} is {state}, not active"
    if certified_unix_s < revoked_unix_s:
        return f"the certificate of {device_id} has been revoked"
    return ""
