"""Programs in twins, reported by loki and read by users: real registry, nats-server and TLS."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from tests.integration.registry.calls import failure, record_contract, refused
from tests.integration.registry.test_registry_twins import led, update
from yggdrasil.registry.v1 import registry_pb2 as rp
from yggdrasil.registry.v1 import twin_pb2 as pb

RUNNING, REFUSED = pb.TWIN_PROGRAM_STATE_RUNNING, pb.TWIN_PROGRAM_STATE_REFUSED


def program(name: str = "blink", state: Any = RUNNING, **fields: Any) -> pb.TwinProgram:
    reported = fields.pop("reported_version", "1.0.0")
    return pb.TwinProgram(
        deployment_id=name,
        program_id=name,
        desired_version="1.0.0",
        desired_running=True,
        reported_version=reported,
        state=state,
        **fields,
    )


def reporting(keys: int) -> pb.TwinProgram:
    found = program()
    for n in range(keys):
        found.reported[f"k{n}"].int = n
    return found


def reported(device_id: str, as_of: int, *programs: pb.TwinProgram) -> pb.ReportTwinProgramsRequest:
    return pb.ReportTwinProgramsRequest(device_id=device_id, as_of=as_of, programs=programs)


async def twin_of(twins: Any, device_id: str) -> pb.Twin:
    found: pb.Twin = (await twins.GetTwin(pb.GetTwinRequest(device_id=device_id))).twin
    return found


async def test_twin_holds_programs_and_properties(twins: Any, loki_twins: Any, as_bridge: Any) -> None:
    await record_contract(as_bridge, "tp-1", led())
    await twins.UpdateTwin(update("tp-1", led0={"on": True}))
    radar = program("radar", REFUSED, reported_version="", problem="it has no sensor.radar")
    await loki_twins.ReportTwinPrograms(reported("tp-1", 7, radar, program()))
    found = await twin_of(twins, "tp-1")
    assert [(one.deployment_id, one.pending, one.problem) for one in found.programs] == [
        ("blink", False, ""),
        ("radar", True, "it has no sensor.radar"),
    ]
    assert (found.revision, found.programs_revision) == (1, 1)
    assert found.programs[0].HasField("report_time")


async def test_equal_or_older_report_writes_nothing(twins: Any, loki_twins: Any, as_bridge: Any) -> None:
    await record_contract(as_bridge, "tp-2", led())
    await loki_twins.ReportTwinPrograms(reported("tp-2", 7, program()))
    again = await loki_twins.ReportTwinPrograms(reported("tp-2", 9, program()))
    assert (again.revision, again.stale) == (1, False)
    late = await loki_twins.ReportTwinPrograms(reported("tp-2", 6))
    assert (late.revision, late.stale) == (1, True)
    assert [one.deployment_id for one in (await twin_of(twins, "tp-2")).programs] == ["blink"]
    gone = await loki_twins.ReportTwinPrograms(reported("tp-2", 10))
    assert (gone.revision, gone.stale) == (2, False)
    assert not (await twin_of(twins, "tp-2")).programs


async def test_only_loki_reports_programs(twins: Any, bridge_twins: Any, loki_twins: Any, as_bridge: Any) -> None:
    await record_contract(as_bridge, "tp-3", led())
    for stub in (twins, bridge_twins):
        code, _ = await refused(stub.ReportTwinPrograms(reported("tp-3", 1, program())))
        assert code is grpc.StatusCode.PERMISSION_DENIED
        code, _ = await refused(stub.ListTwinPrograms(pb.ListTwinProgramsRequest()).read())
        assert code is grpc.StatusCode.PERMISSION_DENIED
    report = pb.ReportTwinRequest(device_id="tp-3", session_epoch=1)
    assert (await refused(loki_twins.ReportTwin(report)))[0] is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (reported("missing-1", 1, program()), grpc.StatusCode.NOT_FOUND),
        (reported("../x", 1), grpc.StatusCode.INVALID_ARGUMENT),
        (reported("tp-4", 1, program("../x")), grpc.StatusCode.INVALID_ARGUMENT),
        (reported("tp-4", 1, reporting(33)), grpc.StatusCode.INVALID_ARGUMENT),
        (reported("tp-4", 1, program(), program()), grpc.StatusCode.INVALID_ARGUMENT),
        (reported("tp-4", 1, *(program(f"p{n}") for n in range(1001))), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_invalid_list_of_programs_is_refused(
    loki_twins: Any, as_bridge: Any, request_: pb.ReportTwinProgramsRequest, code: grpc.StatusCode
) -> None:
    await record_contract(as_bridge, "tp-4", led())
    assert (await refused(loki_twins.ReportTwinPrograms(request_)))[0] is code


async def test_writing_programs_to_a_twin_names_the_command(twins: Any, as_bridge: Any) -> None:
    await record_contract(as_bridge, "tp-5", led())
    code, _, metadata, _ = await failure(twins.UpdateTwin(update("tp-5", programs={"blink": True})))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "ygg program deploy" in metadata["hint"]


async def test_only_devices_with_programs_are_listed(loki_twins: Any, as_bridge: Any) -> None:
    for name in ("tp-6", "tp-7"):
        await record_contract(as_bridge, name, led())
        await loki_twins.ReportTwinPrograms(reported(name, 1, program()))
    await loki_twins.ReportTwinPrograms(reported("tp-7", 2))
    listed = [
        name async for one in loki_twins.ListTwinPrograms(pb.ListTwinProgramsRequest()) for name in one.device_ids
    ]
    assert "tp-6" in listed
    assert "tp-7" not in listed


async def test_watch_reports_programs_and_resumes_from_token(twins: Any, loki_twins: Any, as_bridge: Any) -> None:
    await record_contract(as_bridge, "tp-8", led())
    watch = twins.WatchTwins(pb.WatchTwinsRequest(device_ids=["tp-8"], changes_only=True))
    assert (await watch.read()).caught_up
    await loki_twins.ReportTwinPrograms(reported("tp-8", 1, program()))
    first = await watch.read()
    assert [one.deployment_id for one in first.twin.programs] == ["blink"]
    watch.cancel()
    await loki_twins.ReportTwinPrograms(reported("tp-8", 2, program(state=pb.TWIN_PROGRAM_STATE_SUSPENDED)))
    watch = twins.WatchTwins(pb.WatchTwinsRequest(device_ids=["tp-8"], resume_token=first.resume_token))
    assert (await watch.read()).caught_up
    second = await watch.read()
    assert second.twin.programs[0].state == pb.TWIN_PROGRAM_STATE_SUSPENDED
    watch.cancel()
    old = first.resume_token.partition("p")[0]  # written by a registry without programs
    watch = twins.WatchTwins(pb.WatchTwinsRequest(device_ids=["tp-8"], resume_token=old))
    assert (await watch.read()).caught_up
    await twins.UpdateTwin(update("tp-8", led0={"on": True}))
    assert (await watch.read()).twin.revision == 1
    watch.cancel()


async def test_a_device_that_is_only_registered_has_programs_too(twins: Any, loki_twins: Any, registry: Any) -> None:
    await registry.RegisterDevice(rp.RegisterDeviceRequest(device_id="tp-9"))
    await loki_twins.ReportTwinPrograms(reported("tp-9", 1, program(state=REFUSED, problem="no contract yet")))
    assert (await twin_of(twins, "tp-9")).programs[0].pending
