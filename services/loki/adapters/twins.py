"""The registry's twins, by gRPC. Implements the port Twins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import grpc
import grpc.aio

from services.chassis import codec, status
from services.loki.programs.lifecycle import State
from services.loki.programs.twins import TwinProgram
from yggdrasil.registry.v1 import twin_pb2 as pb
from yggdrasil.registry.v1 import twin_pb2_grpc

TIMEOUT_S = 5.0
_STATES = {
    State.LOADED: pb.TWIN_PROGRAM_STATE_WAITING,
    State.STARTING: pb.TWIN_PROGRAM_STATE_STARTING,
    State.RUNNING: pb.TWIN_PROGRAM_STATE_RUNNING,
    State.SUSPENDED: pb.TWIN_PROGRAM_STATE_SUSPENDED,
    State.STOPPED: pb.TWIN_PROGRAM_STATE_STOPPED,
    State.FAILED: pb.TWIN_PROGRAM_STATE_FAILED,
    State.REFUSED: pb.TWIN_PROGRAM_STATE_REFUSED,
}


class RegistryTwins:
    """Implements the port Twins."""

    def __init__(self, registry: grpc.aio.Channel) -> None:
        self._twins = twin_pb2_grpc.TwinServiceStub(registry)

    async def report(self, device_id: str, programs: Sequence[TwinProgram], as_of: int) -> None:
        """Replace all programs of a device."""
        request = pb.ReportTwinProgramsRequest(device_id=device_id, programs=map(_to_proto, programs), as_of=as_of)
        try:
            await self._twins.ReportTwinPrograms(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as e:
            raise status.from_rpc(e, "the registry") from e

    async def devices(self) -> set[str]:
        """Return the devices whose twins have programs."""
        try:
            answers = self._twins.ListTwinPrograms(pb.ListTwinProgramsRequest(), timeout=TIMEOUT_S)
            return {device_id async for answer in answers for device_id in answer.device_ids}
        except grpc.aio.AioRpcError as e:
            raise status.from_rpc(e, "the registry") from e


def _to_proto(program: TwinProgram) -> pb.TwinProgram:
    return pb.TwinProgram(
        deployment_id=program.deployment_id,
        program_id=program.program_id,
        desired_version=program.desired_version,
        desired_running=program.desired_running,
        desire_time=codec.timestamp(datetime.fromtimestamp(program.desire_time_s, UTC)),
        state=_STATES[program.state],
        reported_version=program.reported_version,
        problem=program.problem,
        reported=codec.values_to_proto(program.reported),
    )
