"""Reports of many devices to ota in a few calls, each answered for itself. Over a real gRPC server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from services.chassis import status
from services.chassis.errors import RemoteError
from services.domain.errors import Code
from services.jotunheim_bridge.adapters.ota import MAX_CONCURRENT_CALLS, MAX_REPORTS_PER_CALL, GrpcOta
from yggdrasil.ota.v1 import relay_pb2 as pb
from yggdrasil.ota.v1 import relay_pb2_grpc

BAD = RemoteError(Code.FAILED_PRECONDITION, "BAD", "not this one")


class Relay(relay_pb2_grpc.RelayServiceServicer):
    """Answers with the number in the device's id; not at all before `open`. `bad` ones fail, `lost` get no answer."""

    def __init__(self) -> None:
        self.open, self.asked, self.sizes = asyncio.Event(), asyncio.Event(), list[int]()
        self.bad, self.lost = "", False

    async def ReportMany(self, request: pb.ReportManyRequest, context: Any) -> pb.ReportManyResponse:  # noqa: N802
        self.sizes.append(len(request.reports))
        if len(self.sizes) == MAX_CONCURRENT_CALLS:
            self.asked.set()
        await self.open.wait()
        return pb.ReportManyResponse(results=[] if self.lost else [self._one(report) for report in request.reports])

    def _one(self, report: pb.ReportRequest) -> pb.ReportResult:
        if report.device_id == self.bad:
            return pb.ReportResult(failure=status.to_failure(BAD))
        return pb.ReportResult(response=pb.ReportResponse(abort_update_id=int(report.device_id)))


@pytest.fixture
async def served() -> AsyncIterator[tuple[Relay, GrpcOta]]:
    server, relay = grpc.aio.server(), Relay()  # type: ignore[abstract]
    relay_pb2_grpc.add_RelayServiceServicer_to_server(relay, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield relay, GrpcOta(channel)
    await server.stop(0)


def asked(ota: GrpcOta, *devices: int) -> list[asyncio.Task[pb.ReportResponse]]:
    return [asyncio.create_task(ota.report(pb.ReportRequest(device_id=str(device)))) for device in devices]


async def test_single_report_is_sent_immediately(served: tuple[Relay, GrpcOta]) -> None:
    relay, ota = served
    relay.open.set()
    for device in (7, 8, 9):
        (answer,) = await asyncio.gather(*asked(ota, device))
        assert answer.abort_update_id == device
    assert relay.sizes == [1, 1, 1]


async def test_reports_during_a_call_are_batched(served: tuple[Relay, GrpcOta]) -> None:
    relay, ota = served
    tasks = asked(ota, *range(1, 201))
    async with asyncio.timeout(10):
        await relay.asked.wait()
        relay.open.set()
        answers = await asyncio.gather(*tasks)
    assert [answer.abort_update_id for answer in answers] == list(range(1, 201))
    assert sum(relay.sizes) == 200
    assert max(relay.sizes) == MAX_REPORTS_PER_CALL
    assert len(relay.sizes) <= MAX_CONCURRENT_CALLS + 4


async def test_a_report_that_fails_fails_alone(served: tuple[Relay, GrpcOta]) -> None:
    relay, ota = served
    relay.bad = "3"
    tasks = asked(ota, *range(1, 6))
    relay.open.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, RemoteError) for one in found] == [False, False, True, False, False]
    assert isinstance(found[2], RemoteError)
    assert (found[2].code, found[2].reason) == (Code.FAILED_PRECONDITION, "BAD")


async def test_a_report_without_an_answer_is_not_waited_for(served: tuple[Relay, GrpcOta]) -> None:
    relay, ota = served
    relay.lost = True
    relay.open.set()
    with pytest.raises(RemoteError, match="no response to a report"):
        await ota.report(pb.ReportRequest(device_id="1"))


async def test_a_session_that_is_gone_takes_no_other_with_it(served: tuple[Relay, GrpcOta]) -> None:
    relay, ota = served
    tasks = asked(ota, *range(1, 2 + MAX_CONCURRENT_CALLS * MAX_REPORTS_PER_CALL))  # the last one waits
    async with asyncio.timeout(10):
        await relay.asked.wait()
    gone = (0, 10, len(tasks) - 1)
    for index in gone:
        tasks[index].cancel()
    relay.open.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert tuple(index for index, one in enumerate(found) if isinstance(one, asyncio.CancelledError)) == gone
    assert sum(isinstance(one, pb.ReportResponse) for one in found) == len(tasks) - len(gone)
    assert sum(relay.sizes) == MAX_CONCURRENT_CALLS * MAX_REPORTS_PER_CALL  # the last one was not even asked


async def test_unavailable_ota_fails_each_report_and_is_retried() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        ota = GrpcOta(channel)
        for _ in range(2):
            found = await asyncio.gather(*asked(ota, 1, 2, 3), return_exceptions=True)
            assert all(isinstance(one, RemoteError) and one.code is Code.UNAVAILABLE for one in found)
