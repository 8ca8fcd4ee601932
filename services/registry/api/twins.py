"""TwinService: conversion of requests to use cases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from services.chassis import codec
from services.chassis.rpc import caller, require_service
from services.domain import ids, twin
from services.domain.errors import InvalidRequestError
from services.domain.twin import Path, Report
from services.domain.values import Value
from services.registry.model import TwinProgram, TwinSide
from services.registry.programs_codec import program_from_proto, program_to_proto
from services.registry.service.twins import MAX_VERSIONS, TwinReport, Twins, TwinView, Version
from yggdrasil.common.v1 import value_pb2
from yggdrasil.registry.v1 import twin_pb2 as pb
from yggdrasil.registry.v1 import twin_pb2_grpc

NAME = pb.DESCRIPTOR.services_by_name["TwinService"].full_name

PAGE = 500
MAX_REPORTED = 32


def _document(values: dict[Path, Value]) -> dict[str, value_pb2.Value]:
    return codec.values_to_proto(twin.nested(values))


def _property(view: TwinView, path: Path) -> pb.TwinProperty:
    desired, reported = view.desired.entries.get(path), view.reported.entries.get(path)
    return pb.TwinProperty(
        capability_id=path[0],
        property=path[1],
        desired=codec.value_to_proto(desired.value) if desired else None,
        desired_revision=desired.revision if desired else 0,
        desire_time=codec.timestamp(desired.time) if desired else None,
        reported=codec.value_to_proto(reported.value) if reported and reported.value is not None else None,
        report_time=codec.timestamp(reported.time) if reported else None,
        pending=path in twin.delta(view.desired, view.reported),
        problem=view.problem(path),
        drifted=view.drifted(path),
    )


def view_to_proto(view: TwinView) -> pb.Twin:
    """Return the message Twin."""
    return pb.Twin(
        device_id=view.device_id,
        revision=view.desired.revision,
        reported_revision=view.reported.revision,
        desired=_document(view.desired.values()),
        reported=_document(view.reported.values()),
        delta=_document(twin.delta(view.desired, view.reported)),
        properties=[_property(view, path) for path in sorted({*view.desired.entries, *view.reported.entries})],
        contract_revision=view.reported.contract_revision,
        programs=map(program_to_proto, view.programs.programs),
        programs_revision=view.programs.revision,
    )


def _version(version: Version) -> pb.TwinVersion:
    side = version.side
    message = pb.TwinVersion(
        time=codec.timestamp(side.time),
        author=side.author,
        document=_document(side.values()),
        changed=[twin.dotted(path) for path in version.changed],
    )
    if version.which is TwinSide.DESIRED:
        message.revision = side.revision
    else:
        message.reported_revision = side.revision
    return message


def _reported(request: pb.ReportTwinRequest) -> TwinReport:
    properties: dict[Path, Report] = {}
    for one in request.properties:
        path = ids.member_id(one.capability_id), ids.member_id(one.property)
        value = codec.value_from_proto(one.value)
        if isinstance(value, list | dict):
            raise InvalidRequestError(f"{twin.dotted(path)} is a {type(value).__name__}, not a single value")
        properties[path] = Report(value, ids.printable(one.problem, 200))
    return TwinReport(
        request.device_id,
        request.contract_revision,
        request.session_epoch,
        properties,
        request.delta_revision,
        request.complete,
    )


class TwinApi(twin_pb2_grpc.TwinServiceServicer):
    """The servicer. See twin.proto for each RPC and its errors."""

    def __init__(self, twins: Twins) -> None:
        self._twins = twins

    async def GetTwin(self, request: pb.GetTwinRequest, context: Any) -> pb.GetTwinResponse:
        """See twin.proto."""
        return pb.GetTwinResponse(twin=view_to_proto(await self._twins.get(request.device_id)))

    async def UpdateTwin(self, request: pb.UpdateTwinRequest, context: Any) -> pb.UpdateTwinResponse:
        """See twin.proto."""
        view = await self._twins.update(
            request.device_id,
            request.revision,
            codec.values_from_proto(request.desired),
            replacing=request.replace,
            author=caller().uri,
        )
        return pb.UpdateTwinResponse(twin=view_to_proto(view))

    async def ListTwinHistory(self, request: pb.ListTwinHistoryRequest, context: Any) -> pb.ListTwinHistoryResponse:
        """See twin.proto."""
        if not 0 <= request.limit <= MAX_VERSIONS:
            raise InvalidRequestError(f"limit is {request.limit}, 0 to {MAX_VERSIONS} are allowed", field="limit")
        versions = await self._twins.history(request.device_id, request.limit)
        return pb.ListTwinHistoryResponse(versions=[_version(version) for version in versions])

    async def WatchTwins(self, request: pb.WatchTwinsRequest, context: Any) -> AsyncIterator[pb.WatchTwinsResponse]:
        """See twin.proto."""
        watching = self._twins.watch(request.device_ids, request.resume_token, changes_only=request.changes_only)
        async for view, token in watching:
            twin_message = view_to_proto(view) if view is not None else None
            yield pb.WatchTwinsResponse(twin=twin_message, caught_up=view is None, resume_token=token)

    async def ReportTwin(self, request: pb.ReportTwinRequest, context: Any) -> pb.ReportTwinResponse:
        """See twin.proto."""
        require_service("jotunheim_bridge")
        revision, delta = await self._twins.report(_reported(request))
        return pb.ReportTwinResponse(revision=revision, delta=_document(delta))

    async def ReportTwinPrograms(
        self, request: pb.ReportTwinProgramsRequest, context: Any
    ) -> pb.ReportTwinProgramsResponse:
        """See twin.proto."""
        require_service("loki")
        programs = [_program(message) for message in request.programs]
        side, stale = await self._twins.report_programs(request.device_id, programs, request.as_of, caller().uri)
        return pb.ReportTwinProgramsResponse(revision=side.revision, stale=stale)

    async def ListTwinPrograms(
        self, request: pb.ListTwinProgramsRequest, context: Any
    ) -> AsyncIterator[pb.ListTwinProgramsResponse]:
        """See twin.proto."""
        require_service("loki")
        page: list[str] = []
        async for device_id in self._twins.with_programs():
            page.append(device_id)
            if len(page) == PAGE:
                yield pb.ListTwinProgramsResponse(device_ids=page)
                page = []
        yield pb.ListTwinProgramsResponse(device_ids=page)


def _program(message: pb.TwinProgram) -> TwinProgram:
    ids.member_id(message.deployment_id)
    ids.member_id(message.program_id)
    program = program_from_proto(message)
    if len(program.reported) > MAX_REPORTED:
        raise InvalidRequestError(
            f"a program reports {len(program.reported)} keys, at most {MAX_REPORTED} are allowed",
            field="programs.reported",
        )
    return replace(program, problem=ids.printable(program.problem, 300), report_time=None)
