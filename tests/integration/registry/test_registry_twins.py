"""Twins for users and bridges: real registry, nats-server and TLS."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.chassis.codec import value_to_proto
from services.domain.values import Value
from tests.fixtures.mesh import client
from tests.fixtures.nats import NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.process import starter
from tests.integration.registry.calls import failure, record_contract, refused
from yggdrasil.common.v1 import capability_pb2 as cp
from yggdrasil.common.v1 import value_pb2
from yggdrasil.registry.v1 import registry_pb2 as rp
from yggdrasil.registry.v1 import twin_pb2 as pb
from yggdrasil.registry.v1 import twin_pb2_grpc

BOOL = cp.DataSchema(type=cp.VALUE_TYPE_BOOL)
PERCENT = cp.DataSchema(type=cp.VALUE_TYPE_INT, unit="%", minimum=0, maximum=100)


def led(name: str = "led0", brightness: cp.DataSchema = PERCENT) -> cp.Capability:
    return cp.Capability(
        id=name,
        type="actuator.led",
        version=1,
        properties=[
            cp.Property(name="on", schema=BOOL, readable=True, writable=True),
            cp.Property(name="brightness", schema=brightness, readable=True, writable=True),
        ],
    )


def document(**capabilities: Any) -> dict[str, value_pb2.Value]:
    return {name: value_to_proto(members) for name, members in capabilities.items()}


def update(device_id: str, revision: int = 0, **capabilities: Any) -> pb.UpdateTwinRequest:
    return pb.UpdateTwinRequest(device_id=device_id, revision=revision, desired=document(**capabilities))


def report(device_id: str, epoch: int = 1, *, complete: bool = False, answers: int = 0, **led0: Value) -> Any:
    return pb.ReportTwinRequest(
        device_id=device_id,
        contract_revision=1,
        session_epoch=epoch,
        complete=complete,
        delta_revision=answers,
        properties=[
            pb.ReportedProperty(capability_id="led0", property=name, value=value_to_proto(value))
            for name, value in led0.items()
        ],
    )


async def test_delta_is_sent_until_it_is_reported(as_bridge: Any, twins: Any, bridge_twins: Any) -> None:
    await record_contract(as_bridge, "tw-1", led())
    made = (await twins.UpdateTwin(update("tw-1", led0={"on": True, "brightness": 40}))).twin
    assert (made.revision, made.delta) == (1, made.desired)
    answer = await bridge_twins.ReportTwin(report("tw-1", complete=True, on=False, brightness=40))
    assert (answer.revision, dict(answer.delta)) == (1, document(led0={"on": True}))
    await bridge_twins.ReportTwin(report("tw-1", answers=1, on=True))
    after = (await twins.GetTwin(pb.GetTwinRequest(device_id="tw-1"))).twin
    assert (dict(after.delta), after.reported, after.contract_revision) == ({}, after.desired, 1)
    assert [(p.property, p.pending, p.desired_revision) for p in after.properties] == [
        ("brightness", False, 1),
        ("on", False, 1),
    ]


async def test_only_one_of_two_writers_of_a_revision_wins(as_bridge: Any, twins: Any) -> None:
    await record_contract(as_bridge, "tw-2", led())
    await twins.UpdateTwin(update("tw-2", led0={"brightness": 1}))
    both = [twins.UpdateTwin(update("tw-2", 1, led0={"brightness": value})) for value in (2, 3)]
    ended = await asyncio.gather(*both, return_exceptions=True)
    lost = [e for e in ended if isinstance(e, grpc.aio.AioRpcError)]
    assert [e.code() for e in lost] == [grpc.StatusCode.ABORTED]
    found = await failure(twins.UpdateTwin(update("tw-2", 1, led0={"brightness": 4})))
    assert found[:2] == (grpc.StatusCode.ABORTED, "STALE_REVISION")
    assert found[2]["current"] == "2"


async def test_merging_writers_without_a_revision_lose_nothing(as_bridge: Any, twins: Any) -> None:
    await record_contract(as_bridge, "tw-3", *(led(f"led{n}") for n in range(6)))
    desired: list[Any] = [{f"led{n}": {"brightness": n}} for n in range(6)]
    await asyncio.gather(*(twins.UpdateTwin(update("tw-3", **one)) for one in desired))
    twin = (await twins.GetTwin(pb.GetTwinRequest(device_id="tw-3"))).twin
    assert dict(twin.desired) == document(**{f"led{n}": {"brightness": n} for n in range(6)})
    assert twin.revision == 6


@pytest.mark.parametrize(
    ("desired", "path"),
    [
        ({"led0": {"brightness": 101}}, "led0.brightness"),
        ({"led0": {"brightness": {"value": 4, "unit": "Cel"}}}, "led0.brightness"),
        ({"led0": {"on": "yes"}}, "led0.on"),
        ({"led0": {"colour": 1}}, "led0.colour"),
        ({"lamp": {"on": True}}, "lamp.on"),
    ],
)
async def test_values_outside_contract_are_refused_by_path(
    as_bridge: Any, twins: Any, desired: dict[str, Any], path: str
) -> None:
    await record_contract(as_bridge, "tw-4", led())
    code, _, metadata, _ = await failure(twins.UpdateTwin(update("tw-4", **desired)))
    assert (code, metadata["path"]) == (grpc.StatusCode.FAILED_PRECONDITION, path)
    assert (await twins.GetTwin(pb.GetTwinRequest(device_id="tw-4"))).twin.revision == 0


async def test_documents_too_deep_or_too_large_are_refused(as_bridge: Any, twins: Any) -> None:
    text = cp.DataSchema(type=cp.VALUE_TYPE_STRING, max_length=64)
    wide = [
        cp.Capability(
            id=f"text{n}",
            type="actuator.text",
            version=1,
            properties=[cp.Property(name=f"p{m}", schema=text, readable=True, writable=True) for m in range(16)],
        )
        for n in range(16)
    ]
    await record_contract(as_bridge, "tw-5", *wide)
    everything: dict[str, Any] = {f"text{n}": {f"p{m}": "x" * 64 for m in range(16)} for n in range(16)}
    code, reason, _, message = await failure(twins.UpdateTwin(update("tw-5", **everything)))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert "16384 are allowed" in message
    deep: Value = True
    for _ in range(20):
        deep = {"x": deep}
    found = await refused(twins.UpdateTwin(update("tw-5", text0={"p0": deep})))
    assert found == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


async def test_twin_of_unknown_device_or_without_contract(registry: Any, twins: Any) -> None:
    await registry.RegisterDevice(rp.RegisterDeviceRequest(device_id="tw-6"))
    missing = await refused(twins.UpdateTwin(update("tw-missing", led0={"on": True})))
    bare = await refused(twins.UpdateTwin(update("tw-6", led0={"on": True})))
    assert missing == (grpc.StatusCode.NOT_FOUND, "DEVICE_NOT_FOUND")
    assert bare[1] == "NO_CONTRACT"
    assert (await twins.GetTwin(pb.GetTwinRequest(device_id="tw-6"))).twin == pb.Twin(device_id="tw-6")
    assert (await refused(twins.GetTwin(pb.GetTwinRequest(device_id="tw-missing"))))[1] == "DEVICE_NOT_FOUND"


async def test_a_report_of_an_older_session_is_aborted(as_bridge: Any, bridge_twins: Any) -> None:
    await record_contract(as_bridge, "tw-7", led())
    await bridge_twins.ReportTwin(report("tw-7", 5, on=True))
    found = await refused(bridge_twins.ReportTwin(report("tw-7", 4, on=False)))
    assert found == (grpc.StatusCode.ABORTED, "STALE_SESSION")


async def test_only_a_bridge_may_report(twins: Any) -> None:
    found = await refused(twins.ReportTwin(report("tw-8", on=True)))
    assert found == (grpc.StatusCode.PERMISSION_DENIED, "CALLER_NOT_ALLOWED")


async def test_problem_of_device_is_shown_with_desired_value(as_bridge: Any, twins: Any, bridge_twins: Any) -> None:
    await record_contract(as_bridge, "tw-9", led())
    await twins.UpdateTwin(update("tw-9", led0={"on": True}))
    said = report("tw-9", answers=1, on=False)
    said.properties[0].problem = "the hardware failed"
    await bridge_twins.ReportTwin(said)
    shown = (await twins.GetTwin(pb.GetTwinRequest(device_id="tw-9"))).twin.properties[0]
    assert (shown.pending, shown.problem) == (True, "the hardware failed")


async def test_property_lost_by_contract_is_shown_but_not_sent(as_bridge: Any, twins: Any, bridge_twins: Any) -> None:
    await record_contract(as_bridge, "tw-10", led())
    await twins.UpdateTwin(update("tw-10", led0={"brightness": 90, "on": True}))
    dim = cp.DataSchema(type=cp.VALUE_TYPE_INT, unit="%", minimum=0, maximum=50)
    await record_contract(as_bridge, "tw-10", led(brightness=dim))
    answer = await bridge_twins.ReportTwin(report("tw-10", complete=True, on=False, brightness=10))
    assert dict(answer.delta) == document(led0={"on": True})
    twin = (await twins.GetTwin(pb.GetTwinRequest(device_id="tw-10"))).twin
    assert "0 to 50 %" in next(p for p in twin.properties if p.property == "brightness").problem


async def test_the_history_has_both_sides_newest_first(as_bridge: Any, twins: Any, bridge_twins: Any) -> None:
    await record_contract(as_bridge, "tw-11", led())
    for value in range(1, 21):
        await twins.UpdateTwin(update("tw-11", led0={"brightness": value}))
    await bridge_twins.ReportTwin(report("tw-11", complete=True, on=False, brightness=20))
    answer = await twins.ListTwinHistory(pb.ListTwinHistoryRequest(device_id="tw-11"))
    first, *others = answer.versions
    assert (first.reported_revision, first.author) == (1, "ygg://main/device/tw-11")
    assert [v.revision for v in others] == list(range(20, 4, -1))
    assert {v.author for v in others} == {"ygg://main/user/operator"}
    assert (list(others[0].changed), list(others[-1].changed)) == (["led0.brightness"], [])
    assert len((await twins.ListTwinHistory(pb.ListTwinHistoryRequest(device_id="tw-11", limit=3))).versions) == 3


async def test_watch_resumes_at_another_replica_without_gaps(
    as_bridge: Any, twins: Any, nats_server: NatsServer, pki: Pki, tmp_path: Path
) -> None:
    await record_contract(as_bridge, "tw-12", led())
    watch = twins.WatchTwins(pb.WatchTwinsRequest(device_ids=["tw-12"]))
    assert (await watch.read()).twin.revision == 0
    token = (await watch.read()).resume_token
    seen: list[int] = []
    for value in range(1, 4):
        await twins.UpdateTwin(update("tw-12", led0={"brightness": value}))
        got = await watch.read()
        seen.append(got.twin.revision)
        token = got.resume_token
    watch.cancel()
    for value in range(4, 8):
        await twins.UpdateTwin(update("tw-12", led0={"brightness": value}))
    with starter(pki) as start:
        other = start("registry", nats_url=nats_server.url, data_dir=tmp_path / "other")
        async with client(other.listen, pki) as channel:
            second: Any = twin_pb2_grpc.TwinServiceStub(channel)
            again = second.WatchTwins(pb.WatchTwinsRequest(device_ids=["tw-12"], resume_token=token))
            assert (await again.read()).caught_up
            seen += [(await again.read()).twin.revision for _ in range(4)]
            again.cancel()
    assert seen == list(range(1, 8))


@pytest.mark.parametrize("token", ["x", "d1", "d1r99999999", "d-1r0"])
async def test_a_foreign_resume_token_is_refused(twins: Any, token: str) -> None:
    watch = twins.WatchTwins(pb.WatchTwinsRequest(resume_token=token))
    assert await refused(watch.read()) == (grpc.StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN")


async def test_a_watch_of_all_begins_with_every_twin_there_is(as_bridge: Any, twins: Any) -> None:
    for name in ("tw-13", "tw-14"):
        await record_contract(as_bridge, name, led())
        await twins.UpdateTwin(update(name, led0={"on": True}))
    watch: Any = twins.WatchTwins(pb.WatchTwinsRequest())
    seen = set[str]()
    while True:
        got: Any = await watch.read()
        if got.caught_up:
            break
        assert got.twin.device_id not in seen
        seen.add(got.twin.device_id)
    watch.cancel()
    assert {"tw-13", "tw-14"} <= seen


async def test_bypassed_twin_shows_drift_until_desired_again(as_bridge: Any, twins: Any, bridge_twins: Any) -> None:
    await record_contract(as_bridge, "tw-20", led())
    await twins.UpdateTwin(update("tw-20", led0={"brightness": 40}))
    await bridge_twins.ReportTwin(report("tw-20", complete=True, on=False, brightness=10))
    await bridge_twins.ReportTwin(report("tw-20", answers=1, brightness=40))
    await bridge_twins.ReportTwin(report("tw-20", brightness=80))

    async def brightness() -> tuple[bool, bool, int]:
        found = (await twins.GetTwin(pb.GetTwinRequest(device_id="tw-20"))).twin.properties
        return next((p.pending, p.drifted, p.desired_revision) for p in found if p.property == "brightness")

    assert await brightness() == (True, True, 1)
    await twins.UpdateTwin(update("tw-20", led0={"brightness": 40}))
    assert await brightness() == (True, False, 2)
    await bridge_twins.ReportTwin(report("tw-20", answers=2, brightness=40))
    assert await brightness() == (False, False, 2)
    await bridge_twins.ReportTwin(report("tw-20", brightness=81))
    assert await brightness() == (True, True, 2)
    answer = await bridge_twins.ReportTwin(report("tw-20", complete=True, on=False, brightness=81))
    assert dict(answer.delta) == document(led0={"brightness": 40})
    assert await brightness() == (True, False, 2)
