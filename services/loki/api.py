"""LokiService: requests to scripts and back. The bounds of the fields are the model's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from services.chassis import codec
from services.domain import text
from services.domain.errors import in_field
from services.loki import model
from services.loki.errors import ScriptError
from services.loki.health import Health, HealthTree
from services.loki.messages import (
    engine_to_proto,
    language_of,
    limits_of,
    limits_to_proto,
    log_to_proto,
    result_to_proto,
)
from services.loki.model import Language, LogEntry, ProgramWorkersStatus, Script
from services.loki.service import Loki
from yggdrasil.loki.v1 import loki_pb2 as pb
from yggdrasil.loki.v1 import loki_pb2_grpc

NAME = pb.DESCRIPTOR.services_by_name["LokiService"].full_name
FAILURE_LOG_BYTES = 2000
DEFAULT_DEVICES, MAX_DEVICES = 100, 1000
_HEALTH = {Health.OK: pb.HEALTH_OK, Health.DEGRADED: pb.HEALTH_DEGRADED, Health.DOWN: pb.HEALTH_DOWN}


def script_of(request: pb.ExecuteRequest) -> Script:
    """Return the checked script of a request; raise InvalidScriptError, InvalidIdError or InvalidRequestError."""
    return model.script(
        text.normalized(request.source),
        language_of(request.language),
        name=request.name,
        device_id=request.device_id,
        arguments=codec.values_from_proto(request.arguments),
        limits=limits_of(request.limits),
    )


def _last(logs: Sequence[LogEntry], size_bytes: int) -> list[LogEntry]:
    """Return the last entries that fit: a status travels in trailers, which gRPC bounds at about 8 KiB in all."""
    kept: list[LogEntry] = []
    for entry in reversed(logs):
        size_bytes -= entry.size_bytes + 16
        if size_bytes < 0:
            break
        kept.append(entry)
    return kept[::-1]


@contextlib.contextmanager
def failure_details(name: str, logs: Sequence[LogEntry]) -> Iterator[None]:
    """Put the script and its line before the message of a ScriptError, and add a ScriptFailure to its status."""
    try:
        yield
    except ScriptError as e:
        failure = pb.ScriptFailure(
            reason=e.reason,
            line=e.line,
            message=e.message,
            traceback=e.traceback,
            logs=[log_to_proto(entry) for entry in _last(logs, FAILURE_LOG_BYTES)],
        )
        e.details = (failure,)
        e.message = f"{name}:{e.line}: {e.message}" if e.line else f"{name}: {e.message}"
        raise


class LokiApi(loki_pb2_grpc.LokiServiceServicer):
    """The servicer. loki.proto describes each RPC and its errors."""

    def __init__(
        self, loki: Loki, health: HealthTree, program_workers: Callable[[Language], ProgramWorkersStatus]
    ) -> None:
        self._loki, self._health, self._program_workers = loki, health, program_workers

    async def Execute(self, request: pb.ExecuteRequest, context: Any) -> pb.ExecuteResponse:
        """Run a script; return its result and log."""
        script, logs = script_of(request), list[LogEntry]()
        with failure_details(script.name, logs):
            outcome = await self._loki.execute(script, logs.append)
        return pb.ExecuteResponse(result=result_to_proto(outcome, logs))

    async def ExecuteStream(
        self, request: pb.ExecuteStreamRequest, context: Any
    ) -> AsyncIterator[pb.ExecuteStreamResponse]:
        """Run a script; stream each line of its log, then the result."""
        with in_field("request"):
            script = script_of(request.request)
        entries: asyncio.Queue[LogEntry | None] = asyncio.Queue()
        running = asyncio.create_task(self._loki.execute(script, entries.put_nowait))
        running.add_done_callback(lambda _: entries.put_nowait(None))
        try:
            while (entry := await entries.get()) is not None:
                yield pb.ExecuteStreamResponse(log=log_to_proto(entry))
            with failure_details(script.name, ()):
                outcome = await running
            yield pb.ExecuteStreamResponse(result=result_to_proto(outcome))
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def GetCapabilities(self, request: pb.GetCapabilitiesRequest, context: Any) -> pb.GetCapabilitiesResponse:
        """Return which languages can run here, and the limits."""
        engines = self._loki.engines()
        return pb.GetCapabilitiesResponse(
            engines=[engine_to_proto(engine, self._program_workers(engine.language)) for engine in engines],
            default_limits=limits_to_proto(model.DEFAULT_LIMITS),
            max_limits=limits_to_proto(model.MAX_LIMITS),
        )

    async def GetComponentStatus(
        self, request: pb.GetComponentStatusRequest, context: Any
    ) -> pb.GetComponentStatusResponse:
        """Return the status of the components that Loki depends on."""
        limit = min(request.device_limit or DEFAULT_DEVICES, MAX_DEVICES)
        found = await self._health.report(request.selector, limit)
        components = [
            pb.ComponentStatus(
                kind=component.kind, id=component.id, health=_HEALTH[component.health], note=component.note
            )
            for component in found.components
        ]
        return pb.GetComponentStatusResponse(components=components, devices=found.devices, devices_online=found.online)
