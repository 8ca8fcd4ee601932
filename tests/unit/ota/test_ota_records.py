"""Records of schema 1: the keys in the buckets do not change when fields of the model are renamed."""

from __future__ import annotations

import json

from services.ota.adapters import records
from services.ota.model.rollout import Rollout, Spec
from services.ota.model.update import Device, OtaStatus


def test_device_record_keeps_the_keys_of_schema_1() -> None:
    device = Device("porch-1", OtaStatus(device_class="sim-board", sequence=3), fallen_back=("r2",))
    data = json.loads(records.device_bytes(device))
    assert set(data) == {"schema", "device_id", "standing", "update", "fallen", "past"}
    assert records.device(records.device_bytes(device)) == device


def test_rollout_record_keeps_the_keys_of_schema_1() -> None:
    rollout = Rollout("r-1", Spec("rel"), 1.0, acknowledged=2)
    data = json.loads(records.rollout_bytes(rollout))
    assert (data["forgiven"], "acknowledged" in data) == (2, False)
    assert records.rollout(records.rollout_bytes(rollout)) == rollout
