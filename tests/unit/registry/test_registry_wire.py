"""A StoredDevice read off its bytes is what protobuf makes of it, whatever the bytes are."""

from __future__ import annotations

from datetime import datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import InvalidRequestError
from services.registry.adapters import records, wire
from services.registry.model import DeviceRecord, DeviceState
from tests.fixtures.strategies import device_ids, moments
from yggdrasil.registry.v1 import registry_pb2 as pb

LABELS = st.dictionaries(
    st.from_regex(r"[a-z]([a-z0-9_./-]{0,61}[a-z0-9])?", fullmatch=True), st.text("aZ0_.-", max_size=63), max_size=8
)


@given(device_ids, st.sampled_from(DeviceState), moments, LABELS, st.none() | moments)
def test_written_record_is_read_without_protobuf(
    device_id: str, state: DeviceState, made: datetime, labels: dict[str, str], revoked: datetime | None
) -> None:
    data = records.device_to_bytes(DeviceRecord(device_id, state, made, labels, 0, revoked))
    _same(data)
    assert wire._read(data) is not None or any(len(k) + len(v) > 120 for k, v in labels.items())


@given(
    st.builds(pb.StoredDevice, schema=st.integers(0, 2**32 - 1), id=st.text(max_size=200), state=st.integers(0, 300))
)
def test_other_shapes_go_through_protobuf(stored: pb.StoredDevice) -> None:
    _same(stored.SerializeToString())


@pytest.mark.parametrize(
    "data", [b"", b"\x08", b"\x08\x01\x12", b"\x18\x02\x12\x01a", b"\x08\x01\x12\x01a\x18\x02\x7a\x01x"]
)
def test_bytes_cut_short_or_of_a_later_version(data: bytes) -> None:
    try:
        pb.StoredDevice.FromString(data)
    except Exception as e:
        with pytest.raises(type(e)):
            wire.shown(data)
    else:
        _same(data)


@pytest.mark.parametrize("field", ["create_time", "revoke_time"])
@pytest.mark.parametrize("time", [Timestamp(seconds=253_402_300_800), Timestamp(nanos=10**9)], ids=["year", "nanos"])
def test_a_time_out_of_range_is_refused(field: str, time: Timestamp) -> None:
    stored = pb.StoredDevice(schema=1, id="a", labels={"a": "b"})
    getattr(stored, field).CopyFrom(time)
    with pytest.raises(InvalidRequestError, match=field):
        wire.shown(stored.SerializeToString(deterministic=True))


def _same(data: bytes) -> None:
    state, labels, device = wire.shown(data)
    stored, shown = pb.StoredDevice.FromString(data), pb.Device.FromString(device)
    assert (shown.id, shown.state, dict(shown.labels)) == (stored.id, stored.state, dict(stored.labels))
    assert shown.create_time == stored.create_time
    assert shown.HasField("revoke_time") == stored.HasField("revoke_time")
    assert shown.revoke_time == stored.revoke_time
    assert state == stored.state
    assert dict(map(wire.label_of, labels)) == dict(stored.labels)
    assert {wire.label_bytes(k, v) for k, v in stored.labels.items()} == set(labels)
