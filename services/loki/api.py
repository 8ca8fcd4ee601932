"""LokiService: requests to scripts and back. The bounds of the fields are the model's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration

from services.chassis import codec
from services.loki import model
from services.loki.errors import InvalidScriptError, ScriptError
from services.loki.model import EngineStatus, Language, Level, Limits, LogEntry, Outcome, Script
from services.loki.service import Loki
from yggdrasil.loki.v1 import loki_pb2 as pb
from yggdrasil.loki.v1 import loki_pb2_grpc

NAME = pb.DESCRIPTOR.services_by_name["LokiService"].full_name
FAILURE_LOG_BYTES = 2000
_LANGUAGES = {pb.LANGUAGE_LUA: Language.LUA, pb.LANGUAGE_SCHEME: Language.SCHEME}
_LANGUAGES_BACK = {language: number for number, language in _LANGUAGES.items()}
_LEVELS = {
    Level.DEBUG: pb.LOG_LEVEL_DEBUG,
    Level.INFO: pb.LOG_LEVEL_INFO,
    Level.WARNING: pb.LOG_LEVEL_WARNING,
    Level.ERROR: pb.LOG_LEVEL_ERROR,
}


def script_of(request: pb.ExecuteRequest) -> Script:
    """The checked script of a request; raises InvalidScriptError, InvalidIdError or InvalidRequestError."""
    language = _LANGUAGES.get(request.language)
    if language is None:
        raise InvalidScriptError("the language is not stated, or none that this version knows", hint="LUA or SCHEME.")
    limits = request.limits
    return model.script(
        request.source,
        language,
        name=request.name,
        device_id=request.device_id,
        arguments=codec.values_from_proto(request.arguments),
        limits=model.limits(
            limits.timeout.seconds + limits.timeout.nanos / 1e9, limits.memory_bytes, limits.output_bytes
        ),
    )


def _duration(seconds: float) -> Duration:
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))


def log_to_proto(entry: LogEntry) -> pb.LogEntry:
    """The message."""
    return pb.LogEntry(time=codec.timestamp(entry.time), level=_LEVELS[entry.level], message=entry.message)


def result_to_proto(outcome: Outcome, logs: Sequence[LogEntry] = ()) -> pb.ExecutionResult:
    """The message; `value` is left out where the script returned nothing."""
    return pb.ExecutionResult(
        value=None if outcome.value is None else codec.value_to_proto(outcome.value),
        logs=[log_to_proto(entry) for entry in logs],
        duration=_duration(outcome.duration_s),
        host_calls=outcome.host_calls,
    )


def _limits_to_proto(limits: Limits) -> pb.ExecutionLimits:
    return pb.ExecutionLimits(
        timeout=_duration(limits.timeout_s), memory_bytes=limits.memory_bytes, output_bytes=limits.output_bytes
    )


def _engine_to_proto(engine: EngineStatus) -> pb.Engine:
    return pb.Engine(
        language=_LANGUAGES_BACK[engine.language],
        version=engine.version,
        available=engine.available,
        reason=engine.problem,
        workers=engine.workers,
    )


def _last(logs: Sequence[LogEntry], size_bytes: int) -> list[LogEntry]:
    """The last entries that fit: a status travels in trailers, which gRPC bounds at about 8 KiB in all."""
    kept: list[LogEntry] = []
    for entry in reversed(logs):
        size_bytes -= entry.size_bytes + 16
        if size_bytes < 0:
            break
        kept.append(entry)
    return kept[::-1]


@contextlib.contextmanager
def _failure_told(script: Script, logs: Sequence[LogEntry]) -> Iterator[None]:
    """Gives a ScriptError its place in the script as text, and a ScriptFailure for the status."""
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
        e.message = f"{script.name}:{e.line}: {e.message}" if e.line else f"{script.name}: {e.message}"
        raise


class LokiApi(loki_pb2_grpc.LokiServiceServicer):
    """The servicer. What each RPC does and how it fails stands in loki.proto."""

    def __init__(self, loki: Loki) -> None:
        self._loki = loki

    async def Execute(self, request: pb.ExecuteRequest, context: Any) -> pb.ExecuteResponse:
        """Runs a script; its log comes with the result."""
        script, logs = script_of(request), list[LogEntry]()
        with _failure_told(script, logs):
            outcome = await self._loki.execute(script, logs.append)
        return pb.ExecuteResponse(result=result_to_proto(outcome, logs))

    async def ExecuteStream(
        self, request: pb.ExecuteStreamRequest, context: Any
    ) -> AsyncIterator[pb.ExecuteStreamResponse]:
        """Runs a script; each line of its log is sent as it comes, then the result."""
        script = script_of(request.request)
        entries: asyncio.Queue[LogEntry | None] = asyncio.Queue()
        running = asyncio.create_task(self._loki.execute(script, entries.put_nowait))
        running.add_done_callback(lambda _: entries.put_nowait(None))
        try:
            while (entry := await entries.get()) is not None:
                yield pb.ExecuteStreamResponse(log=log_to_proto(entry))
            with _failure_told(script, ()):
                outcome = await running
            yield pb.ExecuteStreamResponse(result=result_to_proto(outcome))
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def GetCapabilities(self, request: pb.GetCapabilitiesRequest, context: Any) -> pb.GetCapabilitiesResponse:
        """Which languages can run here, and the limits."""
        return pb.GetCapabilitiesResponse(
            engines=[_engine_to_proto(engine) for engine in self._loki.engines()],
            default_limits=_limits_to_proto(model.DEFAULT_LIMITS),
            max_limits=_limits_to_proto(model.MAX_LIMITS),
        )
