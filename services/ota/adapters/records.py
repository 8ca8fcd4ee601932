"""Records of the OTA service's buckets, as JSON with a schema version.

Keys are those of schema 1; a field that was renamed in the model is mapped here.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from typing import Any

from services.chassis.kv import BucketSpec
from services.ota.model.download import Download
from services.ota.model.release import Signed, Stored
from services.ota.model.rollout import Counts, Rollout, RolloutState, Spec, Wave
from services.ota.model.update import Device, OtaStatus, Stage, State, Update

SCHEMA = 1
LEASE_S = 5.0
RELEASES = BucketSpec("releases")
ROLLOUTS = BucketSpec("rollouts")
DEVICES = BucketSpec("ota_devices")
DELTAS = BucketSpec("ota_deltas")
DOWNLOADS = BucketSpec("ota_downloads", ttl_s=3600)
LEASES = BucketSpec("ota_leases", ttl_s=LEASE_S)
ARCHIVE = BucketSpec("ota_archive")


def _dump(data: dict[str, Any]) -> bytes:
    return json.dumps({"schema": SCHEMA, **data}, separators=(",", ":")).encode()


def _load(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data)
    found.pop("schema")
    return found


def update_data(update: Update) -> dict[str, Any]:
    """Return an update for JSON."""
    return asdict(update) | {"stage": update.stage.value}


def update(data: dict[str, Any]) -> Update:
    """Parse an update; the inverse of `update_data`."""
    return Update(**(data | {"stage": Stage(data["stage"])}))


def device_bytes(device: Device) -> bytes:
    """Return the record of a device."""
    return _dump(
        {
            "device_id": device.device_id,
            "standing": asdict(device.status),
            "update": update_data(device.update) if device.update else None,
            "fallen": device.fallen_back,
            "past": [update_data(each) for each in device.past],
        }
    )


def device(data: bytes) -> Device:
    """Parse a device; the inverse of `device_bytes`."""
    found = _load(data)
    status = found["standing"] | {"state": State(found["standing"]["state"])}
    return Device(
        found["device_id"],
        OtaStatus(**status),
        update(found["update"]) if found["update"] else None,
        tuple(found["fallen"]),
        tuple(update(each) for each in found.get("past", ())),
    )


def rollout_bytes(rollout: Rollout) -> bytes:
    """Return the record of a rollout."""
    data = asdict(rollout) | {"state": rollout.state.value, "before_pause": rollout.before_pause.value}
    return _dump(data | {"forgiven": data.pop("acknowledged")})


def rollout(data: bytes) -> Rollout:
    """Parse a rollout; the inverse of `rollout_bytes`."""
    found = _load(data)
    spec = Spec(**(found["spec"] | {"waves": tuple(Wave(**wave) for wave in found["spec"]["waves"])}))
    changes: dict[str, Any] = {name: RolloutState(found[name]) for name in ("state", "before_pause")}
    changes["acknowledged"] = found.pop("forgiven", 0)
    changes["final"] = Counts(**found["final"]) if found.get("final") else None
    return Rollout(**(found | {"spec": spec} | changes))


def stored_bytes(stored: Stored) -> bytes:
    """Return the record of a root, a release or a floor."""
    signed = stored.signed
    envelope = (
        {"envelope": base64.b64encode(signed.envelope).decode(), "create": signed.create_unix_s} if signed else {}
    )
    return _dump({"floor": stored.floor, **envelope})


def stored(data: bytes) -> Stored:
    """Parse a root, a release or a floor; the inverse of `stored_bytes`."""
    found = _load(data)
    if "envelope" not in found:
        return Stored(floor=found["floor"])
    return Stored(Signed(base64.b64decode(found["envelope"]), found["create"]), found["floor"])


def patch_bytes(found: dict[str, Any]) -> bytes:
    """Return the record of a patch, or of the reason why there is none."""
    return _dump(found)


def patch(data: bytes) -> dict[str, Any]:
    """Parse a patch record; the inverse of `patch_bytes`."""
    return _load(data)


def download_bytes(download: Download) -> bytes:
    """Return the record of a token."""
    return _dump(asdict(download))


def download(data: bytes) -> Download:
    """Parse a token's record; the inverse of `download_bytes`."""
    return Download(**_load(data))
