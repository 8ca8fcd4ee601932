"""Removal of a device: deleted data, hidden data, and refusals. Real registry, nats-server and TLS."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from services.chassis.codec import value_to_proto
from tests.integration.registry.calls import record_contract, refused
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.registry.v1 import registry_pb2 as rp
from yggdrasil.registry.v1 import twin_pb2 as pb

LED = cp.Capability(
    id="led0",
    type="actuator.led",
    version=1,
    properties=[cp.Property(name="on", schema=cp.DataSchema(type=cp.VALUE_TYPE_BOOL), readable=True, writable=True)],
)
NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "DEVICE_NOT_FOUND")


def removal(device_id: str, **more: Any) -> rp.DeleteDeviceRequest:
    return rp.DeleteDeviceRequest(device_id=device_id, **more)


def desire(device_id: str) -> pb.UpdateTwinRequest:
    return pb.UpdateTwinRequest(device_id=device_id, desired={"led0": value_to_proto({"on": True})})


async def test_a_removed_device_is_gone_from_every_answer(registry: Any, as_bridge: Any, twins: Any) -> None:
    await record_contract(as_bridge, "rm-1", LED)
    await registry.DeleteDevice(removal("rm-1"))
    assert await refused(registry.GetDevice(rp.GetDeviceRequest(device_id="rm-1"))) == NOT_FOUND
    assert await refused(registry.GetContract(rp.GetContractRequest(device_id="rm-1"))) == NOT_FOUND
    assert await refused(registry.ListContracts(rp.ListContractsRequest(device_id="rm-1"))) == NOT_FOUND
    assert await refused(twins.GetTwin(pb.GetTwinRequest(device_id="rm-1"))) == NOT_FOUND
    assert await refused(twins.UpdateTwin(desire("rm-1"))) == NOT_FOUND
    assert await refused(registry.DeleteDevice(removal("rm-1"))) == NOT_FOUND


async def test_returning_device_has_empty_twin_at_higher_revision(registry: Any, as_bridge: Any, twins: Any) -> None:
    first = await record_contract(as_bridge, "rm-2", LED)
    await registry.UpdateDevice(rp.UpdateDeviceRequest(device_id="rm-2", labels={"zone": "old"}))
    before = (await twins.UpdateTwin(desire("rm-2"))).twin
    await registry.DeleteDevice(removal("rm-2"))
    again = await record_contract(as_bridge, "rm-2", LED)
    assert again.contract.revision >= first.contract.revision
    after = (await twins.GetTwin(pb.GetTwinRequest(device_id="rm-2"))).twin
    assert (dict(after.desired), after.revision > before.revision) == ({}, True)
    assert not (await registry.GetDevice(rp.GetDeviceRequest(device_id="rm-2"))).device.labels


@pytest.mark.parametrize("state", [rp.DEVICE_STATE_SUSPENDED, rp.DEVICE_STATE_RETIRED])
async def test_a_record_that_keeps_a_device_out_goes_only_by_name(registry: Any, state: Any) -> None:
    device = f"rm-out-{state}"
    await registry.RegisterDevice(rp.RegisterDeviceRequest(device_id=device))
    await registry.UpdateDevice(rp.UpdateDeviceRequest(device_id=device, state=state))
    kept_out = (grpc.StatusCode.FAILED_PRECONDITION, "DEVICE_KEPT_OUT")
    assert await refused(registry.DeleteDevice(removal(device))) == kept_out
    await registry.DeleteDevice(removal(device, readmit=True))


async def test_a_stale_revision_removes_nothing(registry: Any) -> None:
    made = await registry.RegisterDevice(rp.RegisterDeviceRequest(device_id="rm-3"))
    await registry.UpdateDevice(rp.UpdateDeviceRequest(device_id="rm-3", labels={"a": "1"}))
    stale = removal("rm-3", revision=made.device.revision)
    assert await refused(registry.DeleteDevice(stale)) == (grpc.StatusCode.ABORTED, "STALE_REVISION")
    assert (await registry.GetDevice(rp.GetDeviceRequest(device_id="rm-3"))).device.id == "rm-3"
