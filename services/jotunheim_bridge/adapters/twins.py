"""The port Twins over gRPC, and the desired state, followed in the bucket `twin_desired`.

The bucket holds a record for each device of the mesh with a desired state, a bridge serves a few of them: only records
of devices with a session here are parsed.
"""

from __future__ import annotations

import grpc.aio
from nats.js import JetStreamContext

from services.chassis import codec, records
from services.chassis.buckets import TWIN_DESIRED
from services.chassis.streams import follow
from services.domain.twin import Path
from services.domain.values import Value
from services.jotunheim_bridge.adapters.registry import TIMEOUT_S, convert_errors
from services.jotunheim_bridge.ports import Desired, TwinReport
from services.jotunheim_bridge.service.bridge import Bridge
from yggdrasil.registry.v1 import twin_pb2 as pb
from yggdrasil.registry.v1 import twin_pb2_grpc


class GrpcTwins:
    """Every call has a deadline of TIMEOUT_S seconds and raises RemoteError with the registry's own code."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: twin_pb2_grpc.TwinServiceAsyncStub = twin_pb2_grpc.TwinServiceStub(channel)

    async def report(self, report: TwinReport) -> tuple[int, dict[Path, Value]]:
        """Report properties to the registry; return the desired revision and the delta for the device."""
        request = pb.ReportTwinRequest(
            device_id=report.device_id,
            contract_revision=report.contract_revision,
            delta_revision=report.answers,
            properties=[
                pb.ReportedProperty(
                    capability_id=path[0], property=path[1], value=codec.value_to_proto(one.value), problem=one.problem
                )
                for path, one in report.properties.items()
            ],
            complete=report.complete,
            session_epoch=report.session_epoch,
        )
        with convert_errors():
            answer = await self._stub.ReportTwin(request, timeout=TIMEOUT_S)
        delta = codec.values_from_proto(answer.delta)
        return answer.revision, {
            (capability_id, name): value
            for capability_id, members in delta.items()
            if isinstance(members, dict)
            for name, value in members.items()
        }


async def follow_desired(js: JetStreamContext, bridge: Bridge, after: int) -> None:
    """Pass every change of the desired state of a connected device to the bridge, until cancelled."""
    start = len(TWIN_DESIRED.subject(""))
    async for batch in follow(js, TWIN_DESIRED.stream, after=after):
        for record in batch:
            device_id = record.subject[start:]
            session = bridge.session(device_id)
            if session is not None and session.twin is not None and not record.deleted:
                desired = records.try_decode(TWIN_DESIRED.name, device_id, record.data, _desired)
                if desired is not None:
                    bridge.twins.on_desired(session, desired)


def _desired(data: bytes) -> Desired:
    stored = pb.StoredTwin.FromString(data)
    return Desired(
        stored.revision,
        {
            (one.capability_id, one.property): (codec.value_from_proto(one.value), one.revision)
            for one in stored.properties
        },
    )
