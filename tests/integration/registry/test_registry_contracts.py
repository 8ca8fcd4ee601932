"""Revisions of a contract: real registry, nats-server and TLS."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from jsonschema import Draft7Validator

from tests.integration.registry.calls import failure, record_contract, refused
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.registry.v1 import registry_pb2 as rp


def temp(maximum: float, name: str = "temp0") -> cp.Capability:
    schema = cp.DataSchema(type=cp.VALUE_TYPE_DOUBLE, unit="Cel", minimum=-40, maximum=maximum)
    return cp.Capability(
        id=name,
        type="sensor.temperature",
        version=1,
        properties=[cp.Property(name="value", schema=schema, readable=True)],
    )


async def kept(registry: Any, device_id: str) -> list[int]:
    answer = await registry.ListContracts(rp.ListContractsRequest(device_id=device_id))
    return [one.revision for one in answer.revisions]


def compare(device_id: str, old: int = 0, new: int = 0) -> rp.CompareContractsRequest:
    request = rp.CompareContractsRequest(device_id=device_id, to=new)
    setattr(request, "from", old)  # a keyword of Python
    return request


async def test_each_revision_is_listed_read_and_compared(registry: Any, as_bridge: Any) -> None:
    for maximum in (50, 125, 50):
        await record_contract(as_bridge, "con-1", temp(maximum))
    answer = await registry.ListContracts(rp.ListContractsRequest(device_id="con-1"))
    assert [one.revision for one in answer.revisions] == [3, 2, 1]
    assert answer.revisions[0].digest == answer.revisions[2].digest != answer.revisions[1].digest
    for revision, maximum in ((1, 50), (2, 125), (3, 50), (0, 50)):
        found = (await registry.GetContract(rp.GetContractRequest(device_id="con-1", revision=revision))).contract
        assert found.revision == (revision or 3)
        assert found.capabilities[0].properties[0].schema.maximum == maximum
    latest = await registry.CompareContracts(compare("con-1"))
    assert (getattr(latest, "from"), latest.to) == (2, 3)
    assert list(latest.changes.changed) == ["temp0"]
    assert list(latest.differences) == ["temp0.value: maximum was 125, is 50"]
    same = await registry.CompareContracts(compare("con-1", 1, 3))
    assert (list(same.differences), same.changes) == ([], type(same.changes)())


async def test_new_build_makes_no_revision_but_is_reported(registry: Any, as_bridge: Any) -> None:
    first = await record_contract(as_bridge, "con-2", temp(50))
    for version in ("1.0.0", "1.1.0", "1.0.0"):
        await as_bridge.RecordContract(rp.RecordContractRequest(contract=first.contract, firmware_version=version))
    answer = await registry.ListContracts(rp.ListContractsRequest(device_id="con-2"))
    assert [(one.revision, one.firmware_version) for one in answer.revisions] == [(1, "1.0.0")]


async def test_the_last_sixty_four_revisions_are_kept(registry: Any, as_bridge: Any) -> None:
    for maximum in range(66):
        await record_contract(as_bridge, "con-3", temp(maximum))
    assert await kept(registry, "con-3") == list(range(66, 2, -1))
    gone = await failure(registry.GetContract(rp.GetContractRequest(device_id="con-3", revision=2)))
    assert gone[:2] == (grpc.StatusCode.NOT_FOUND, "REVISION_UNKNOWN")
    assert (gone[2]["oldest"], gone[2]["newest"]) == ("3", "66")
    assert gone[3].startswith("con-3 has no contract revision 2: revisions 3 to 66 are kept")


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (compare("con-4"), grpc.StatusCode.NOT_FOUND, "REVISION_UNKNOWN"),
        (compare("con-4", 1, 9), grpc.StatusCode.NOT_FOUND, "REVISION_UNKNOWN"),
        (compare("con-4", 2, 1), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (compare("missing"), grpc.StatusCode.NOT_FOUND, "DEVICE_NOT_FOUND"),
        (compare("Nobody"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ID"),
    ],
)
async def test_incomparable_contracts_are_reported(
    registry: Any, as_bridge: Any, request_: rp.CompareContractsRequest, code: grpc.StatusCode, reason: str
) -> None:
    await record_contract(as_bridge, "con-4", temp(50))
    assert await refused(registry.CompareContracts(request_)) == (code, reason)


async def test_a_device_without_a_contract_has_no_revisions(registry: Any) -> None:
    await registry.RegisterDevice(rp.RegisterDeviceRequest(device_id="con-5"))
    for call in (
        registry.ListContracts(rp.ListContractsRequest(device_id="con-5")),
        registry.CompareContracts(compare("con-5")),
        registry.GetContract(rp.GetContractRequest(device_id="con-5", revision=1)),
    ):
        assert await refused(call) == (grpc.StatusCode.NOT_FOUND, "NO_CONTRACT")


async def test_a_thing_description_is_valid_and_follows_the_contract(
    registry: Any, as_bridge: Any, td_schema: dict[str, Any]
) -> None:
    await record_contract(as_bridge, "con-6", temp(50))
    first = json.loads((await registry.GetThingDescription(rp.GetThingDescriptionRequest(device_id="con-6"))).json)
    Draft7Validator(td_schema, format_checker=Draft7Validator.FORMAT_CHECKER).validate(first)
    assert (first["title"], first["version"]["instance"]) == ("con-6", "1")
    assert first["properties"]["temp0.value"]["maximum"] == 50
    await record_contract(as_bridge, "con-6", temp(125))
    second = json.loads((await registry.GetThingDescription(rp.GetThingDescriptionRequest(device_id="con-6"))).json)
    assert (second["id"], second["created"]) == (first["id"], first["created"])
    assert (second["version"]["instance"], second["properties"]["temp0.value"]["maximum"]) == ("2", 125)
    await registry.RegisterDevice(rp.RegisterDeviceRequest(device_id="con-7"))
    found = await refused(registry.GetThingDescription(rp.GetThingDescriptionRequest(device_id="con-7")))
    assert found == (grpc.StatusCode.NOT_FOUND, "NO_CONTRACT")
