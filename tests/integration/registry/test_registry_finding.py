"""Finding devices, with explanations of mismatches: real registry, nats-server and TLS."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from services.chassis import status
from tests.integration.registry.calls import record_contract, refused
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.common.v1 import requirement_pb2 as qp
from yggdrasil.registry.v1 import registry_pb2 as rp


def temp(version: int, low: float, high: float) -> cp.Capability:
    schema = cp.DataSchema(type=cp.VALUE_TYPE_DOUBLE, unit="Cel", minimum=low, maximum=high)
    value = cp.Property(name="value", schema=schema, readable=True)
    return cp.Capability(id="temp0", type="sensor.temperature", version=version, properties=[value])


LED = cp.Capability(id="led0", type="actuator.led", version=1, actions=[cp.Action(name="blink")])
WIDE = qp.Requirement(
    type="sensor.temperature",
    minimum_version=2,
    affordances=[
        qp.AffordanceRequirement(
            kind=qp.AFFORDANCE_KIND_PROPERTY, name="value", unit="Cel", covers_minimum=-10, covers_maximum=40
        )
    ],
)


@pytest.fixture
async def fleet(registry: Any, as_bridge: Any) -> list[str]:
    """warm: 0 to 50, cold: -40 to 80 with a lamp, bare: no contract. Idempotent."""
    for name, zone in (("find-warm", "hall"), ("find-cold", "porch"), ("find-bare", "hall")):
        try:
            await registry.RegisterDevice(rp.RegisterDeviceRequest(device_id=name, labels={"zone": zone, "f": "1"}))
        except grpc.aio.AioRpcError as e:
            assert e.code() is grpc.StatusCode.ALREADY_EXISTS
    await record_contract(as_bridge, "find-warm", temp(2, 0, 50))
    await record_contract(as_bridge, "find-cold", temp(2, -40, 80), LED)
    return ["find-bare", "find-cold", "find-warm"]


async def found(registry: Any, **request: Any) -> list[str]:
    answer = await registry.FindDevices(rp.FindDevicesRequest(**{"selector": "f=1", **request}))
    return [device.id for device in answer.devices]


async def test_devices_are_found_by_structure_and_by_text(registry: Any, fleet: list[str]) -> None:
    assert await found(registry) == fleet
    assert await found(registry, has=["sensor.temperature@2+"]) == ["find-cold", "find-warm"]
    assert await found(registry, requirements=[WIDE]) == ["find-cold"]
    assert await found(registry, has=["sensor.temperature{value:Cel -10..40 r}"]) == ["find-cold"]
    assert await found(registry, has=["actuator.led{blink()}", "temp0=sensor.temperature"]) == ["find-cold"]
    assert await found(registry, has=["sensor.temperature@3+"]) == []
    assert await found(registry, has=["sensor.temperature"], selector="f=1,zone in (hall)") == ["find-warm"]
    listed = await registry.ListDevices(rp.ListDevicesRequest(selector="f=1", has=["actuator.led@1{blink()}"]))
    assert [device.id for device in listed.devices] == ["find-cold"]
    assert [c.type for c in listed.devices[0].capabilities] == ["sensor.temperature", "actuator.led"]


async def test_find_continues_from_a_page_token(registry: Any, fleet: list[str]) -> None:
    first = await registry.FindDevices(rp.FindDevicesRequest(selector="f=1", page_size=2))
    rest = await found(registry, page_size=2, page_token=first.next_page_token)
    assert [device.id for device in first.devices] + rest == fleet


async def test_mismatch_lists_missing_capabilities(registry: Any, fleet: list[str]) -> None:
    asked = ["find-cold", "find-warm", "find-bare", "find-missing"]
    request = rp.FindDevicesRequest(requirements=[WIDE], has=["actuator.led"], selector="zone=porch", explain=asked)
    answer = await registry.FindDevices(request)
    cold, warm, bare, missing = answer.explanations
    assert [one.device_id for one in answer.explanations] == asked
    assert (cold.matches, list(cold.capability_ids), list(cold.failed)) == (True, ["temp0", "led0"], [])
    assert not any(one.matches for one in (warm, bare, missing))
    assert [(c.kind, c.requirement) for c in warm.failed] == [
        (qp.CLAUSE_KIND_LABEL, -1),
        (qp.CLAUSE_KIND_RANGE, 0),
        (qp.CLAUSE_KIND_TYPE, 1),
    ]
    assert warm.failed[0].message == "label zone is hall, zone=porch is required"
    assert warm.failed[1].message == "temp0.value: range is 0 to 50 Cel, -10 to 40 is required"
    assert (warm.failed[1].capability_id, warm.failed[1].member) == ("temp0", "value")
    assert list(warm.capability_ids) == ["", ""]
    assert [c.kind for c in bare.failed] == [qp.CLAUSE_KIND_LABEL, qp.CLAUSE_KIND_NO_CONTRACT]
    assert [c.kind for c in missing.failed] == [qp.CLAUSE_KIND_NO_DEVICE]


async def test_presence_is_a_clause_too(registry: Any, fleet: list[str]) -> None:
    answer = await registry.FindDevices(rp.FindDevicesRequest(online=True, explain=["find-cold"]))
    (clause,) = answer.explanations[0].failed
    assert (clause.kind, clause.message) == (qp.CLAUSE_KIND_PRESENCE, "the device is offline, online is required")


async def test_presence_clause_names_state_of_excluded_device(registry: Any) -> None:
    await registry.RegisterDevice(rp.RegisterDeviceRequest(device_id="find-out", state=rp.DEVICE_STATE_SUSPENDED))
    answer = await registry.FindDevices(rp.FindDevicesRequest(online=True, explain=["find-out"]))
    assert [clause.message for clause in answer.explanations[0].failed] == [
        "the device is suspended, online is required"
    ]


async def test_states_narrow_the_list(registry: Any) -> None:
    for name, state in (("st-1", rp.DEVICE_STATE_PENDING), ("st-2", rp.DEVICE_STATE_ACTIVE)):
        await registry.RegisterDevice(rp.RegisterDeviceRequest(device_id=name, labels={"st": "1"}, state=state))

    async def ids(*states: Any) -> list[str]:
        request = rp.ListDevicesRequest(selector="st=1", states=states)
        return [device.id for device in (await registry.ListDevices(request)).devices]

    assert await ids() == ["st-1", "st-2"]
    assert await ids(rp.DEVICE_STATE_PENDING) == ["st-1"]
    assert await ids(rp.DEVICE_STATE_PENDING, rp.DEVICE_STATE_ACTIVE) == ["st-1", "st-2"]
    assert await ids(rp.DEVICE_STATE_RETIRED) == []


async def test_page_waits_for_write_or_reports_lagging_index(registry: Any) -> None:
    made = (await registry.RegisterDevice(rp.RegisterDeviceRequest(device_id="atl-1"))).device
    request = rp.ListDevicesRequest(page_token="atl-0", page_size=1, at_least_revision=made.revision)
    assert [device.id for device in (await registry.ListDevices(request)).devices] == ["atl-1"]
    request.at_least_revision = made.revision + 1_000_000
    assert await refused(registry.ListDevices(request)) == (grpc.StatusCode.UNAVAILABLE, "INDEX_BEHIND")


@pytest.mark.parametrize(
    ("request_", "reason", "position"),
    [
        (rp.FindDevicesRequest(selector="zone=hall,,x"), "INVALID_REQUEST", "10"),
        (rp.FindDevicesRequest(selector="zone in (a"), "INVALID_REQUEST", "10"),
        (rp.FindDevicesRequest(has=["sensor.temperature@0"]), "INVALID_REQUEST", "19"),
        (rp.FindDevicesRequest(has=["actuator.led{Blink()}"]), "INVALID_ID", "13"),
    ],
)
async def test_invalid_selector_or_requirement_has_its_position(
    registry: Any, request_: rp.FindDevicesRequest, reason: str, position: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await registry.FindDevices(request_)
    info = status.error_info(caught.value)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert info is not None
    assert (info.reason, info.metadata["position"]) == (reason, position)


NO_KIND = qp.AffordanceRequirement(name="x")
NAN = qp.AffordanceRequirement(kind=qp.AFFORDANCE_KIND_PROPERTY, name="v", covers_minimum=float("nan"))


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (rp.FindDevicesRequest(requirements=[qp.Requirement(type="led")]), "INVALID_ID"),
        (rp.FindDevicesRequest(requirements=[qp.Requirement(type="a.b", affordances=[NAN])]), "INVALID_REQUEST"),
        (rp.FindDevicesRequest(requirements=[qp.Requirement(type="a.b", maximum_version=1, minimum_version=2)]), ""),
        (rp.FindDevicesRequest(requirements=[qp.Requirement(type="a.b", affordances=[NO_KIND])]), ""),
        (rp.FindDevicesRequest(requirements=[WIDE] * 9, has=["a.b"] * 8), "INVALID_REQUEST"),
        (rp.FindDevicesRequest(explain=["x"] * 101), "INVALID_REQUEST"),
        (rp.FindDevicesRequest(explain=["No Device"]), "INVALID_ID"),
        (rp.FindDevicesRequest(page_size=1001), "INVALID_REQUEST"),
        (rp.FindDevicesRequest(page_token="-"), "PAGE_TOKEN"),
        (rp.FindDevicesRequest(group="No Group"), "INVALID_ID"),
        (rp.ListDevicesRequest.FromString(b"\x38\x09"), "INVALID_REQUEST"),
    ],
)
async def test_a_bad_question_is_an_invalid_argument(registry: Any, request_: Any, reason: str) -> None:
    call = registry.FindDevices if isinstance(request_, rp.FindDevicesRequest) else registry.ListDevices
    code, found = await refused(call(request_))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert found == (reason or "INVALID_REQUEST")
