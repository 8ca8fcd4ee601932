"""Checks of every request: invalid bytes, too many items, times out of range."""

from __future__ import annotations

from typing import Any

import pytest

from services.chassis import requests
from services.domain.errors import Code, InvalidRequestError
from yggdrasil.jotunheim.v1 import bridge_pb2
from yggdrasil.loki.v1 import loki_pb2
from yggdrasil.registry.v1 import backup_pb2, registry_pb2

TOO_LATE_S = 253_402_300_800


def refused(kind: type[Any], data: bytes) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as e:
        requests.parse(kind.FromString, data)
    assert e.value.code is Code.INVALID_ARGUMENT
    return e.value


def device() -> backup_pb2.BackupRecord:
    record = backup_pb2.BackupRecord()
    record.device.id, record.device.create_time.seconds = "d" * 60, 1
    return record


def test_malformed_message_is_refused() -> None:
    assert "not a valid message" in refused(registry_pb2.GetDeviceRequest, b"\xff\xff\xff").message


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        (bridge_pb2.InvokeManyRequest, b"\x0a\x00"),
        (registry_pb2.RegisterDevicesRequest, b"\x0a\x00"),
        (registry_pb2.FindDevicesRequest, b"\x12\x00"),
    ],
)
def test_a_message_of_100_000_items_is_refused_early(kind: type[Any], item: bytes) -> None:
    assert f"more than {requests.MAX_ITEMS} items" in refused(kind, item * 100_000).message


def test_items_are_counted_through_the_whole_message() -> None:
    device = registry_pb2.RegisterDeviceRequest(labels={f"k{i}": "v" for i in range(100)})
    fits = registry_pb2.RegisterDevicesRequest(devices=[device] * 300).SerializeToString()
    assert len(requests.parse(registry_pb2.RegisterDevicesRequest.FromString, fits).devices) == 300
    refused(registry_pb2.RegisterDevicesRequest, fits * 2)


@pytest.mark.parametrize("among", [0, 900])
@pytest.mark.parametrize(("seconds", "nanos"), [(TOO_LATE_S, 0), (-62_135_596_801, 0), (0, -1), (0, 10**9)])
def test_timestamp_out_of_range_is_refused_at_any_depth(seconds: int, nanos: int, among: int) -> None:
    request = backup_pb2.RestoreRequest(records=[device()] * among)
    request.records.insert(0, backup_pb2.BackupRecord())
    request.records[0].device.create_time.seconds = seconds
    request.records[0].device.create_time.nanos = nanos
    error = refused(backup_pb2.RestoreRequest, request.SerializeToString())
    assert [one.field for one in error.violations] == ["records.device.create_time"]


@pytest.mark.parametrize(("seconds", "nanos"), [(2**62, 0), (-(2**62), 0), (0, 10**9), (0, -(10**9))])
def test_a_duration_out_of_range_is_refused(seconds: int, nanos: int) -> None:
    request = loki_pb2.ExecuteRequest()
    request.limits.timeout.seconds, request.limits.timeout.nanos = seconds, nanos
    error = refused(loki_pb2.ExecuteRequest, request.SerializeToString())
    assert [one.field for one in error.violations] == ["limits.timeout"]


@pytest.mark.parametrize("among", [0, 900])
def test_times_within_range_pass(among: int) -> None:
    request = backup_pb2.RestoreRequest(records=[device()] * among)
    request.records.add().device.create_time.seconds = TOO_LATE_S - 1
    assert requests.parse(backup_pb2.RestoreRequest.FromString, request.SerializeToString()) == request
