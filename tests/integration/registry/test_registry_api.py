"""The API of the registry: real service, nats-server and TLS."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.chassis import status
from tests.fixtures.mesh import client
from tests.fixtures.nats import NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess, starter
from tests.integration.registry.calls import refused
from yggdrasil.common.v1 import contract_pb2
from yggdrasil.registry.v1 import registry_pb2 as rp
from yggdrasil.registry.v1 import registry_pb2_grpc


async def register(registry: Any, device_id: str, **labels: str) -> rp.Device:
    answer: rp.RegisterDeviceResponse
    answer = await registry.RegisterDevice(rp.RegisterDeviceRequest(device_id=device_id, labels=labels))
    return answer.device


async def test_registered_device_is_readable_immediately(registry: Any) -> None:
    made = await register(registry, "reg-1", zone="hall")
    assert (made.state, made.labels["zone"], made.presence.online) == (rp.DEVICE_STATE_ACTIVE, "hall", False)
    assert (await registry.GetDevice(rp.GetDeviceRequest(device_id="reg-1"))).device == made


async def test_registering_twice_is_refused(registry: Any) -> None:
    await register(registry, "reg-2")
    found = await refused(registry.RegisterDevice(rp.RegisterDeviceRequest(device_id="reg-2")))
    assert found == (grpc.StatusCode.ALREADY_EXISTS, "DEVICE_EXISTS")


async def test_pages_return_each_device_once_while_others_come_between(registry: Any) -> None:
    names = [f"page-{n:03}" for n in range(0, 50, 2)]
    for name in names:
        await register(registry, name, suite="page")
    seen: list[str] = []
    token, between = "", 1
    while True:
        request = rp.ListDevicesRequest(page_size=7, page_token=token, selector="suite=page")
        page = await registry.ListDevices(request)
        seen += [d.id for d in page.devices]
        await register(registry, f"page-{between:03}", suite="page")
        between += 2
        token = page.next_page_token
        if not token:
            break
    assert len(seen) == len(set(seen))
    assert set(names) <= set(seen)
    assert seen == sorted(seen)


async def test_selectors_and_presence_narrow_the_list(registry: Any) -> None:
    await register(registry, "sel-1", zone="porch", floor="1")
    await register(registry, "sel-2", zone="porch", floor="2")

    async def ids(**request: Any) -> list[str]:
        return [d.id for d in (await registry.ListDevices(rp.ListDevicesRequest(**request))).devices]

    assert await ids(selector="zone=porch") == ["sel-1", "sel-2"]
    assert await ids(selector="zone=porch,floor=2") == ["sel-2"]
    assert await ids(selector="floor,zone=porch", online=False) == ["sel-1", "sel-2"]
    assert await ids(selector="zone=porch", online=True) == []
    assert await ids(selector="zone=porch", has=["actuator.led"]) == []


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (rp.ListDevicesRequest(page_size=1001), "INVALID_REQUEST"),
        (rp.ListDevicesRequest(page_size=-1), "INVALID_REQUEST"),
        (rp.ListDevicesRequest(page_token="Not a token"), "PAGE_TOKEN"),
        (rp.ListDevicesRequest(selector="zone=a b"), "INVALID_REQUEST"),
        (rp.ListDevicesRequest(has=["led"]), "INVALID_ID"),
        (rp.ListDevicesRequest(has=["actuator.led@0x"]), "INVALID_REQUEST"),
        (rp.ListDevicesRequest(has=["actuator.led"] * 17), "INVALID_REQUEST"),
    ],
)
async def test_a_bad_question_is_an_invalid_argument(
    registry: Any, request_: rp.ListDevicesRequest, reason: str
) -> None:
    assert await refused(registry.ListDevices(request_)) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


async def test_a_stale_revision_is_aborted_and_named(registry: Any) -> None:
    made = await register(registry, "cas-1")
    update = rp.UpdateDeviceRequest(device_id="cas-1", revision=made.revision, labels={"a": "1"})
    after = (await registry.UpdateDevice(update)).device
    assert after.revision > made.revision
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await registry.UpdateDevice(update)
    info = status.error_info(caught.value)
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert info is not None
    assert info.metadata["current"] == str(after.revision)


async def test_concurrent_label_writes_without_a_revision_are_all_kept(registry: Any) -> None:
    await register(registry, "cas-2")
    labels = [f"key{n}" for n in range(5)]
    await asyncio.gather(
        *(registry.UpdateDevice(rp.UpdateDeviceRequest(device_id="cas-2", labels={name: "x"})) for name in labels)
    )
    device = (await registry.GetDevice(rp.GetDeviceRequest(device_id="cas-2"))).device
    assert sorted(device.labels) == labels


async def test_an_empty_label_value_removes_the_label(registry: Any) -> None:
    await register(registry, "cas-3", zone="hall", floor="1")
    after = await registry.UpdateDevice(rp.UpdateDeviceRequest(device_id="cas-3", labels={"zone": ""}))
    assert dict(after.device.labels) == {"floor": "1"}


async def test_a_retired_device_stays_retired(registry: Any) -> None:
    await register(registry, "life-1")
    await registry.UpdateDevice(rp.UpdateDeviceRequest(device_id="life-1", state=rp.DEVICE_STATE_RETIRED))
    back = rp.UpdateDeviceRequest(device_id="life-1", state=rp.DEVICE_STATE_ACTIVE)
    assert await refused(registry.UpdateDevice(back)) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_TRANSITION")


async def test_unknown_device_differs_from_missing_contract(registry: Any) -> None:
    await register(registry, "bare-1")
    missing = await refused(registry.GetContract(rp.GetContractRequest(device_id="missing")))
    bare = await refused(registry.GetContract(rp.GetContractRequest(device_id="bare-1")))
    assert missing == (grpc.StatusCode.NOT_FOUND, "DEVICE_NOT_FOUND")
    assert bare == (grpc.StatusCode.NOT_FOUND, "NO_CONTRACT")


async def test_watch_sends_current_state_then_each_change(registry: Any) -> None:
    await register(registry, "watch-1")
    watch = registry.WatchDevices(rp.WatchDevicesRequest(device_ids=["watch-1", "watch-2"]))
    assert (await watch.read()).device.id == "watch-1"
    assert (await watch.read()).caught_up
    await register(registry, "watch-2")
    await register(registry, "watch-3")
    await registry.UpdateDevice(rp.UpdateDeviceRequest(device_id="watch-1", labels={"a": "b"}))
    changes = [(await watch.read()).device for _ in range(2)]
    assert [(d.id, dict(d.labels)) for d in changes] == [("watch-2", {}), ("watch-1", {"a": "b"})]
    watch.cancel()


async def test_watch_of_changes_only_omits_current_state(registry: Any) -> None:
    await register(registry, "watch-4")
    watch = registry.WatchDevices(rp.WatchDevicesRequest(device_ids=["watch-4"], changes_only=True))
    assert (await watch.read()).caught_up
    watch.cancel()


async def test_only_a_bridge_may_record_contracts(registry: Any, service: ServiceProcess, pki: Pki) -> None:
    request = rp.RecordContractRequest(contract=contract_pb2.Contract(device_id="x"))
    assert await refused(registry.RecordContract(request)) == (grpc.StatusCode.PERMISSION_DENIED, "CALLER_NOT_ALLOWED")
    async with client(service.listen, pki, "service", "loki") as channel:
        stub = registry_pb2_grpc.RegistryServiceStub(channel)
        assert (await refused(stub.RecordContract(request)))[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_document_with_another_digest_is_refused(service: ServiceProcess, pki: Pki) -> None:
    async with client(service.listen, pki, "service", "jotunheim_bridge") as channel:
        stub = registry_pb2_grpc.RegistryServiceStub(channel)
        contract = contract_pb2.Contract(device_id="doc-1", document_digest="0" * 64)
        lie = rp.RecordContractRequest(contract=contract, document=b"other")
        assert await refused(stub.RecordContract(lie)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        unknown = rp.RecordContractRequest(contract=contract)
        assert await refused(stub.RecordContract(unknown)) == (grpc.StatusCode.NOT_FOUND, "DOCUMENT_UNKNOWN")


async def test_two_replicas_agree(registry: Any, nats_server: NatsServer, pki: Pki, tmp_path: Path) -> None:
    with starter(pki) as start:
        other = start("registry", nats_url=nats_server.url, data_dir=tmp_path / "other")
        async with client(other.listen, pki) as channel:
            second = registry_pb2_grpc.RegistryServiceStub(channel)
            watch = registry.WatchDevices(rp.WatchDevicesRequest(device_ids=["both-1"], changes_only=True))
            assert (await watch.read()).caught_up
            made = await register(second, "both-1", side="second")
            assert (await watch.read()).device == made
            watch.cancel()
