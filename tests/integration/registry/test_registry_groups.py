"""Groups: real registry, nats-server and TLS."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from services.chassis import status
from tests.integration.registry.calls import refused
from yggdrasil.registry.v1 import registry_pb2 as rp


async def put(registry: Any, name: str, selector: str, revision: int = 0, description: str = "") -> rp.Group:
    group = rp.Group(name=name, selector=selector, revision=revision, description=description)
    answer: rp.SetGroupResponse = await registry.SetGroup(rp.SetGroupRequest(group=group))
    return answer.group


async def test_a_group_is_made_changed_listed_and_forgotten(registry: Any) -> None:
    made = await put(registry, "porch", "zone = porch , floor in (1,2)", description="the porch")
    assert (made.selector, made.description) == ("zone=porch,floor in (1,2)", "the porch")
    changed = await put(registry, "porch", "zone=porch", made.revision)
    assert changed.revision > made.revision
    await put(registry, "attic", "zone=attic")
    listed = (await registry.ListGroups(rp.ListGroupsRequest())).groups
    assert [group.name for group in listed] == ["attic", "porch"]
    assert listed[1] == changed
    await registry.DeleteGroup(rp.DeleteGroupRequest(name="attic"))
    await registry.DeleteGroup(rp.DeleteGroupRequest(name="porch", revision=changed.revision))
    assert not (await registry.ListGroups(rp.ListGroupsRequest())).groups
    again = await put(registry, "porch", "zone=porch")  # over the marker of the deleted group
    await registry.DeleteGroup(rp.DeleteGroupRequest(name="porch", revision=again.revision))


async def test_group_lists_devices_that_match_its_selector_now(registry: Any) -> None:
    for name, floor in (("grp-1", "1"), ("grp-2", "2")):
        await registry.RegisterDevice(rp.RegisterDeviceRequest(device_id=name, labels={"grp": "y", "floor": floor}))
    await put(registry, "low", "grp=y,floor!=2")

    async def ids(**request: Any) -> list[str]:
        listed = [d.id for d in (await registry.ListDevices(rp.ListDevicesRequest(group="low", **request))).devices]
        found = [d.id for d in (await registry.FindDevices(rp.FindDevicesRequest(group="low", **request))).devices]
        assert listed == found
        return listed

    assert await ids() == ["grp-1"]
    await registry.UpdateDevice(rp.UpdateDeviceRequest(device_id="grp-2", labels={"floor": "3"}))
    assert await ids() == ["grp-1", "grp-2"]
    assert await ids(selector="floor=3") == ["grp-2"]
    explained = await registry.FindDevices(rp.FindDevicesRequest(group="low", explain=["grp-1"]))
    assert explained.explanations[0].matches


async def test_stale_group_revision_is_aborted_with_current_one(registry: Any) -> None:
    made = await put(registry, "cas", "zone=a")
    current = await put(registry, "cas", "zone=b", made.revision)
    stale = rp.SetGroupRequest(group=rp.Group(name="cas", selector="zone=c", revision=made.revision))
    for call in (
        registry.SetGroup(stale),
        registry.DeleteGroup(rp.DeleteGroupRequest(name="cas", revision=made.revision)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        info = status.error_info(caught.value)
        assert caught.value.code() is grpc.StatusCode.ABORTED
        assert info is not None
        assert (info.reason, info.metadata["current"]) == ("STALE_REVISION", str(current.revision))


async def test_missing_group_is_not_found(registry: Any) -> None:
    not_found = (grpc.StatusCode.NOT_FOUND, "GROUP_NOT_FOUND")
    assert await refused(registry.DeleteGroup(rp.DeleteGroupRequest(name="missing"))) == not_found
    assert await refused(registry.ListDevices(rp.ListDevicesRequest(group="missing"))) == not_found
    late = rp.SetGroupRequest(group=rp.Group(name="missing", selector="a=b", revision=7))
    assert (await refused(registry.SetGroup(late)))[0] is grpc.StatusCode.ABORTED


@pytest.mark.parametrize(
    "group",
    [
        rp.Group(name="Porch", selector="zone=porch"),
        rp.Group(name="-porch", selector="zone=porch"),
        rp.Group(name="a.b", selector="zone=porch"),
        rp.Group(name="x" * 64, selector="zone=porch"),
        rp.Group(name="", selector="zone=porch"),
        rp.Group(name="porch"),
        rp.Group(name="porch", selector="  "),
        rp.Group(name="porch", selector="zone=po rch"),
        rp.Group(name="porch", selector="zone=porch", description="x" * 201),
        rp.Group(name="porch", selector="zone=porch", description="a\nb"),
    ],
)
async def test_a_bad_group_is_an_invalid_argument(registry: Any, group: rp.Group) -> None:
    assert (await refused(registry.SetGroup(rp.SetGroupRequest(group=group))))[0] is grpc.StatusCode.INVALID_ARGUMENT
