"""RolloutService: converts messages to use cases."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

from services.chassis.rpc import caller
from services.domain.errors import InvalidRequestError
from services.ota.api import codec
from services.ota.model import rollout as rules
from services.ota.model.rollout import Counts, Rollout
from services.ota.service.rollouts import Rollouts
from yggdrasil.ota.v1 import rollout_pb2 as pb
from yggdrasil.ota.v1 import rollout_pb2_grpc

NAME = pb.DESCRIPTOR.services_by_name["RolloutService"].full_name
MAX_UNFIT = 100


class RolloutApi(rollout_pb2_grpc.RolloutServiceServicer):
    """The servicer."""

    def __init__(self, rollouts: Rollouts) -> None:
        self._rollouts = rollouts

    async def StartRollout(self, request: pb.StartRolloutRequest, context: Any) -> pb.StartRolloutResponse:
        """Start a rollout, or return its plan for a dry run."""
        view, unfit = await self._rollouts.start(codec.spec(request.spec), dry_run=request.dry_run)
        listed = [pb.UnfitDevice(device_id=c.device_id, reason=c.unfit) for c in unfit[:MAX_UNFIT]]
        return pb.StartRolloutResponse(rollout=codec.rollout(view), unfit=listed)

    async def GetRollout(self, request: pb.GetRolloutRequest, context: Any) -> pb.GetRolloutResponse:
        """Return a rollout."""
        return pb.GetRolloutResponse(rollout=codec.rollout(await self._rollouts.get(request.id)))

    async def ListRollouts(self, request: pb.ListRolloutsRequest, context: Any) -> pb.ListRolloutsResponse:
        """Return all rollouts."""
        return pb.ListRolloutsResponse(rollouts=[codec.rollout(view) for view in await self._rollouts.all()])

    async def WatchRollout(
        self, request: pb.WatchRolloutRequest, context: Any
    ) -> AsyncGenerator[pb.WatchRolloutResponse, None]:
        """Stream a rollout whenever it changes."""
        async with contextlib.aclosing(self._rollouts.watch(request.id)) as views:
            async for view in views:
                yield pb.WatchRolloutResponse(rollout=codec.rollout(view))

    async def ControlRollout(self, request: pb.ControlRolloutRequest, context: Any) -> pb.ControlRolloutResponse:
        """Pause, resume, abort or approve a rollout."""
        user = caller().id
        changes: dict[int, tuple[Callable[[Rollout, Counts], Rollout], str]] = {
            pb.ROLLOUT_CONTROL_PAUSE: (lambda r, _: rules.pause(r), "paused"),
            pb.ROLLOUT_CONTROL_RESUME: (lambda r, counts: rules.resume(r, counts.failures), "resumed"),
            pb.ROLLOUT_CONTROL_ABORT: (lambda r, _: rules.abort(r, user), "aborted"),
            pb.ROLLOUT_CONTROL_APPROVE: (lambda r, _: rules.approve(r), "approved"),
        }
        if request.control not in changes:
            raise InvalidRequestError("control must be PAUSE, RESUME, ABORT or APPROVE", field="control")
        return pb.ControlRolloutResponse(
            rollout=codec.rollout(await self._rollouts.control(request.id, *changes[request.control]))
        )

    async def RollBack(self, request: pb.RollBackRequest, context: Any) -> pb.RollBackResponse:
        """Start a rollback."""
        return pb.RollBackResponse(
            rollout=codec.rollout(await self._rollouts.roll_back(request.id, request.release_id))
        )

    async def ListUpdates(self, request: pb.ListUpdatesRequest, context: Any) -> pb.ListUpdatesResponse:
        """Return the updates of a rollout's devices."""
        return pb.ListUpdatesResponse(
            updates=[codec.update(each) for each in await self._rollouts.updates(request.rollout_id)]
        )
