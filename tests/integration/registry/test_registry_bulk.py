"""RegisterDevices: many devices in one call, failures of some of them, and an immediate read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest

from services.chassis.nats import jetstream
from tests.fixtures.nats import Connect
from tests.integration.registry.calls import refused
from yggdrasil.registry.v1 import registry_pb2 as rp

Device = rp.RegisterDeviceRequest
UNKNOWN_STATE = Device.FromString(b"\x0a\x05bad-5\x18\x63")


async def stream(*batches: Sequence[rp.RegisterDeviceRequest]) -> AsyncIterator[rp.RegisterDevicesRequest]:
    for batch in batches:
        yield rp.RegisterDevicesRequest(devices=batch)


async def test_thousands_are_registered_and_read_in_bulk(registry: Any) -> None:
    batches = [[Device(device_id=f"blk-{b}-{n}", labels={"blk": str(b)}) for n in range(400)] for b in range(5)]
    answer = await registry.RegisterDevices(stream(*batches))
    assert (answer.registered, answer.failed, list(answer.failures)) == (2000, 0, [])
    request = rp.ListDevicesRequest(selector="blk=3", page_size=1000, at_least_revision=answer.revision)
    found = (await registry.ListDevices(request)).devices
    assert len(found) == 400
    assert {device.state for device in found} == {rp.DEVICE_STATE_ACTIVE}
    assert max(device.revision for device in found) <= answer.revision


async def test_failed_item_is_reported_by_position_alone(registry: Any) -> None:
    await registry.RegisterDevice(Device(device_id="bad-there"))
    answer = await registry.RegisterDevices(
        stream(
            [Device(device_id="bad-0"), Device(device_id="No\nName"), Device(device_id="bad-2", labels={"A": "b"})],
            [Device(device_id="bad-0"), Device(device_id="bad-there"), UNKNOWN_STATE],
            [],
            [
                Device(device_id="bad-6"),
                Device(device_id="bad-7"),
                Device(device_id="bad-6"),
                Device(device_id="é" * 99),
            ],
        )
    )
    assert (answer.registered, answer.failed) == (3, 7)
    assert [(f.position, f.device_id[:9], f.failure.reason) for f in answer.failures] == [
        (1, "No?Name", "INVALID_ID"),
        (2, "bad-2", "INVALID_ID"),
        (3, "bad-0", "DEVICE_EXISTS"),
        (4, "bad-there", "DEVICE_EXISTS"),
        (5, "bad-5", "INVALID_REQUEST"),
        (8, "bad-6", "DEVICE_EXISTS"),
        (9, "é" * 9, "INVALID_ID"),
    ]
    assert len(answer.failures[-1].device_id.encode()) <= 63
    assert {f.failure.code for f in answer.failures} == {
        grpc.StatusCode.INVALID_ARGUMENT.value[0],
        grpc.StatusCode.ALREADY_EXISTS.value[0],
    }


async def test_duplicate_ids_within_one_stream_register_once(registry: Any) -> None:
    same = [Device(device_id="dup-1")] * 500
    answer = await registry.RegisterDevices(stream(same, same, same))
    assert (answer.registered, answer.failed, len(answer.failures)) == (1, 1499, 1000)
    assert {f.failure.reason for f in answer.failures} == {"DEVICE_EXISTS"}


async def test_a_message_of_more_than_a_thousand_is_refused(registry: Any) -> None:
    many = [Device(device_id=f"many-{n}") for n in range(1001)]
    assert await refused(registry.RegisterDevices(stream(many))) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
    )


async def test_nothing_is_registered_by_an_empty_stream(registry: Any) -> None:
    answer = await registry.RegisterDevices(stream())
    assert (answer.registered, answer.failed, answer.revision) == (0, 0, 0)


@pytest.mark.parametrize("bulk", [True, False])
async def test_device_with_deleted_key_is_registered_again(registry: Any, connect_nats: Connect, bulk: bool) -> None:
    name = f"again-{bulk}".lower()
    await registry.RegisterDevice(Device(device_id=name))
    devices = await jetstream(await connect_nats("registry")).key_value("devices")
    await devices.delete(name)
    if bulk:
        assert (await registry.RegisterDevices(stream([Device(device_id=name)]))).registered == 1
    else:
        await registry.RegisterDevice(Device(device_id=name))
    assert (await registry.GetDevice(rp.GetDeviceRequest(device_id=name))).device.id == name
