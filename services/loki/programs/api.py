"""ProgramService: requests to programs and back. What each RPC does and how it fails stands in program.proto."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, cast

from services.chassis import codec, requirements_codec
from services.chassis.rpc import caller
from services.domain import ids, text
from services.domain.errors import in_field
from services.domain.values import Value
from services.loki.adapters import program_codec
from services.loki.adapters.peers import NatsPeers
from services.loki.api import failure_details
from services.loki.messages import duration, log_to_proto
from services.loki.model import Level, LogEntry
from services.loki.programs.errors import (
    ContractRefusedError,
    InvalidPackageError,
    NotRunningError,
    ProgramUnknownError,
)
from services.loki.programs.instance import HISTORY, LINES
from services.loki.programs.placement import Deployment
from services.loki.programs.queries import InstanceQueries
from services.loki.programs.service import Programs
from yggdrasil.loki.v1 import program_pb2 as pb
from yggdrasil.loki.v1 import program_pb2_grpc

NAME = pb.DESCRIPTOR.services_by_name["ProgramService"].full_name
DEFAULT_HISTORY = 20


@contextlib.contextmanager
def _clause_details() -> Iterator[None]:
    try:
        yield
    except ContractRefusedError as e:
        e.details = tuple(map(requirements_codec.clause_to_proto, e.clauses))
        raise


def _deployment(deployment: Deployment) -> pb.ProgramDeployment:
    return program_codec.deployment_to_proto(deployment)


def _when(seconds: Value) -> Any:
    return codec.timestamp(datetime.fromtimestamp(cast("float", seconds), UTC))


class ProgramApi(program_pb2_grpc.ProgramServiceServicer):
    """The servicer."""

    def __init__(self, programs: Programs, queries: InstanceQueries, peers: NatsPeers) -> None:
        self._programs, self._queries, self._peers = programs, queries, peers

    async def LoadProgram(self, request: pb.LoadProgramRequest, context: Any) -> pb.LoadProgramResponse:
        """Check and store a package."""
        package = program_codec.package_from_proto(request.package)
        with in_field("package"), failure_details(package.label, ()):
            kept, created = await self._programs.load(
                package, caller().uri, validate_only=request.validate_only, replacing=request.replace
            )
        return pb.LoadProgramResponse(manifest=program_codec.manifest_to_proto(kept.manifest), created=created)

    def _program(self, program_id: str) -> pb.Program:
        versions = self._programs.programs().get(program_id, [])
        return pb.Program(
            id=program_id,
            versions=[program_codec.manifest_to_proto(package.manifest) for package in versions],
            deployments=map(_deployment, self._programs.deployments_of(program_id)),
        )

    async def ListPrograms(self, request: pb.ListProgramsRequest, context: Any) -> pb.ListProgramsResponse:
        """List all programs."""
        return pb.ListProgramsResponse(programs=map(self._program, self._programs.programs()))

    async def GetProgram(self, request: pb.GetProgramRequest, context: Any) -> pb.GetProgramResponse:
        """Return a program with its source and instances."""
        package = self._programs.package(request.id, request.version)
        deployments = self._programs.deployments_of(request.id)
        return pb.GetProgramResponse(
            program=self._program(request.id),
            package=program_codec.package_to_proto(package),
            instances=[
                program_codec.instance_to_proto(status)
                for deployment in deployments
                for status in self._programs.instances(deployment.id)
            ],
        )

    async def UnloadProgram(self, request: pb.UnloadProgramRequest, context: Any) -> pb.UnloadProgramResponse:
        """End a deployment or unload a program."""
        what = request.WhichOneof("target")
        if what == "deployment_id":
            await self._programs.end(request.deployment_id)
            return pb.UnloadProgramResponse(deployment_ids=[request.deployment_id])
        if what != "program_id":
            raise InvalidPackageError(
                "no target given",
                hint="A deployment or a program.",
                field="target",
            )
        ended = await self._programs.unload_program(
            request.program_id, request.version, end_deployments=request.end_deployments
        )
        return pb.UnloadProgramResponse(deployment_ids=ended)

    async def DeployProgram(self, request: pb.DeployProgramRequest, context: Any) -> pb.DeployProgramResponse:
        """Create or change a deployment."""
        with _clause_details():
            made = await self._programs.deploy(
                request.program_id,
                request.version,
                program_codec.target_from_proto(request.target),
                request.deployment_id,
                codec.values_from_proto(request.arguments),
                caller().uri,
                stopped=request.stopped,
            )
        return pb.DeployProgramResponse(
            deployment=_deployment(made.deployment),
            device_ids=made.device_ids,
            skipped=[
                pb.SkippedDevice(device_id=device, failed=map(requirements_codec.clause_to_proto, clauses))
                for device, clauses in made.skipped
            ],
        )

    async def StartProgram(self, request: pb.StartProgramRequest, context: Any) -> pb.StartProgramResponse:
        """Wants it running."""
        return pb.StartProgramResponse(deployment=_deployment(await self._programs.start(request.deployment_id)))

    async def StopProgram(self, request: pb.StopProgramRequest, context: Any) -> pb.StopProgramResponse:
        """Wants it stopped."""
        return pb.StopProgramResponse(deployment=_deployment(await self._programs.stop(request.deployment_id)))

    async def RestartProgram(self, request: pb.RestartProgramRequest, context: Any) -> pb.RestartProgramResponse:
        """Restart every instance."""
        return pb.RestartProgramResponse(deployment=_deployment(await self._programs.restart(request.deployment_id)))

    async def ListInstances(self, request: pb.ListInstancesRequest, context: Any) -> pb.ListInstancesResponse:
        """Return the instances."""
        found = self._programs.instances(request.deployment_id, request.device_id)
        return pb.ListInstancesResponse(instances=map(program_codec.instance_to_proto, found))

    async def _ask(self, instance: pb.InstanceRef, method: str, what: dict[str, Value]) -> dict[str, Value]:
        with failure_details(instance.deployment_id, ()):
            return await self._queries.ask(instance.deployment_id, instance.device_id, method, what)

    async def EvalProgram(self, request: pb.EvalProgramRequest, context: Any) -> pb.EvalProgramResponse:
        """Evaluates a text in a running instance."""
        answer = await self._ask(request.instance, "eval", {"source": text.normalized(request.source)})
        value = answer["value"]
        return pb.EvalProgramResponse(value=None if value is None else codec.value_to_proto(value))

    async def GetGlobals(self, request: pb.GetGlobalsRequest, context: Any) -> pb.GetGlobalsResponse:
        """Return the globals of a running instance."""
        answer = await self._ask(request.instance, "globals", {"names": list(request.names)})
        found: list[pb.ProgramGlobal] = []
        for item in cast("list[dict[str, Any]]", answer["globals"] or []):
            value = item.get("value")
            encoded = codec.value_to_proto(value[0]) if value else None
            found.append(pb.ProgramGlobal(name=item["name"], type=item["type"], value=encoded))
        return pb.GetGlobalsResponse(globals=sorted(found, key=lambda each: each.name))

    async def SetGlobal(self, request: pb.SetGlobalRequest, context: Any) -> pb.SetGlobalResponse:
        """Set a global of a running instance."""
        await self._ask(request.instance, "set", {"name": request.name, "value": codec.value_from_proto(request.value)})
        return pb.SetGlobalResponse()

    async def GetStore(self, request: pb.GetStoreRequest, context: Any) -> pb.GetStoreResponse:
        """Return the store of a running instance."""
        answer: dict[str, Any] = await self._ask(request.instance, "store", {})
        entries = codec.values_to_proto(answer["entries"])
        return pb.GetStoreResponse(entries=entries, size_bytes=answer["size_bytes"], limit_bytes=answer["limit_bytes"])

    async def SetStore(self, request: pb.SetStoreRequest, context: Any) -> pb.SetStoreResponse:
        """Write a key of the store."""
        given = request.value if request.value.WhichOneof("kind") else None
        value = codec.value_from_proto(given) if given is not None else None
        answer = await self._ask(request.instance, "keep", {"key": request.key, "value": value})
        return pb.SetStoreResponse(existed=bool(answer["existed"]))

    async def GetStatistics(self, request: pb.GetStatisticsRequest, context: Any) -> pb.GetStatisticsResponse:
        """Return the resource use of an instance."""
        seen: dict[str, Any] = await self._ask(request.instance, "statistics", {})
        return pb.GetStatisticsResponse(
            statistics=pb.ProgramStatistics(
                turn_time=duration(seen.pop("turn_time_s")),
                longest_turn=duration(seen.pop("longest_s")),
                uptime=duration(seen.pop("uptime_s")),
                **seen,
            )
        )

    async def ListCallHistory(self, request: pb.ListCallHistoryRequest, context: Any) -> pb.ListCallHistoryResponse:
        """Return the last turns."""
        if not 0 <= request.limit <= HISTORY:
            raise InvalidPackageError(f"limit is 1 to {HISTORY}", field="limit")
        answer = await self._ask(request.instance, "history", {"limit": request.limit or DEFAULT_HISTORY})
        calls = cast("list[dict[str, Any]]", answer["calls"])
        return pb.ListCallHistoryResponse(
            calls=[
                pb.ProgramCall(
                    start_time=_when(call.pop("start_time")), duration=duration(call.pop("duration_s")), **call
                )
                for call in calls
            ]
        )

    async def WatchLogs(self, request: pb.WatchLogsRequest, context: Any) -> AsyncIterator[pb.WatchLogsResponse]:
        """Yield the last lines, then new lines as they are logged."""
        if not 0 <= request.tail <= LINES:
            raise InvalidPackageError(f"tail is 0 to {LINES}", field="tail")
        deployment = self._programs.deployment(request.deployment_id)
        if request.device_id:
            ids.device_id(request.device_id)
            if not self._programs.instances(deployment.id, request.device_id):
                raise ProgramUnknownError(
                    f"{deployment.id} does not run on {request.device_id}",
                    hint=f"List its instances:  ygg program show {deployment.program_id}",
                )
        queue = await self._peers.lines(request.deployment_id) if request.follow else None
        try:
            await context.send_initial_metadata(())  # a caller that follows knows that nothing is missed from here on
            last = datetime.min.replace(tzinfo=UTC)
            for line in await self._before(request):
                last = codec.moment(line.entry.time)
                yield line
            while queue is not None:
                line = await queue.get()
                fresh = codec.moment(line.entry.time) > last or not request.tail
                if request.device_id in ("", line.device_id) and fresh:
                    yield line
        finally:
            if queue is not None:
                await self._peers.stop_lines(queue)

    async def _before(self, request: pb.WatchLogsRequest) -> list[pb.WatchLogsResponse]:
        found: list[pb.WatchLogsResponse] = []
        for status in self._programs.instances(request.deployment_id, request.device_id) if request.tail else ():
            with contextlib.suppress(NotRunningError):
                answer = await self._queries.ask(
                    status.ref.deployment, status.ref.device, "lines", {"tail": request.tail}
                )
                for time, level, text in cast("list[tuple[float, str, str]]", answer["lines"]):
                    entry = LogEntry(datetime.fromtimestamp(time, UTC), Level(level), text)
                    found.append(
                        pb.WatchLogsResponse(
                            entry=log_to_proto(entry),
                            deployment_id=status.ref.deployment,
                            device_id=status.ref.device,
                        )
                    )
        return sorted(found, key=lambda line: codec.moment(line.entry.time))[-request.tail :] if found else []

    async def StartRollout(self, request: pb.StartRolloutRequest, context: Any) -> pb.StartRolloutResponse:
        """Tries another version."""
        after = await self._programs.start_rollout(
            request.deployment_id, request.version, request.share_percent, request.error_threshold
        )
        return pb.StartRolloutResponse(deployment=_deployment(after))

    async def FinishRollout(self, request: pb.FinishRolloutRequest, context: Any) -> pb.FinishRolloutResponse:
        """Promotes the canary, or gives it up."""
        after = await self._programs.finish_rollout(request.deployment_id, promote=request.promote)
        return pb.FinishRolloutResponse(deployment=_deployment(after))
