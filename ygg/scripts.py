"""gRPC client for ad-hoc scripts: request, log stream, outcome.

Does not print and reads no file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import grpc
from google.protobuf.duration_pb2 import Duration

from services.chassis import status
from services.chassis.codec import value_from_proto, values_to_proto
from services.domain.errors import YggError
from services.domain.values import Value
from ygg.client import Mesh
from ygg.exits import CliError
from ygg.output import safe
from yggdrasil.loki.v1 import loki_pb2, loki_pb2_grpc

GRACE_S = 5.0
QUEUE_S = 300.0
"""Wait for a free worker that the deadline allows on top of the script's timeout, in seconds. Loki reports a full queue
itself; its limit (YGG_LOKI_QUEUE_WAIT_S) is at most QUEUE_S."""

LANGUAGES = {"lua": loki_pb2.LANGUAGE_LUA, "scheme": loki_pb2.LANGUAGE_SCHEME}
_TRACE_LINES = 20


@dataclass(frozen=True, slots=True)
class Run:
    """A script to run. `language` is a key of LANGUAGES; `name` appears in messages; `timeout_s` limits the script."""

    source: str
    language: str
    name: str
    device: str = ""
    arguments: Mapping[str, Value] | None = None
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a script.

    `duration_ms` is measured by the mesh; `dropped` lists timers and handlers still registered at its end.
    """

    value: Value
    duration_ms: float
    host_calls: int
    dropped: tuple[str, ...] = ()


class ScriptFailedError(YggError):
    """A script failed. Code and reason are those of the run; `where` is its position, such as `blink.lua:7: `."""

    def __init__(self, where: str, error: YggError, detail: loki_pb2.ScriptFailure) -> None:
        trace = [safe(line, 200) for line in detail.traceback.splitlines()[:_TRACE_LINES]]
        hint = "\n".join(part for part in (error.hint, *(trace if len(trace) > 1 else ())) if part)
        reason = detail.reason or error.reason
        super().__init__(where + (detail.message or error.message), hint=hint, line=detail.line)
        self.code, self.reason = error.code, reason
        self.data["fate"] = reason  # earlier calls of the script may have been sent, so the device's fate is unknown


@dataclass(frozen=True, slots=True)
class Line:
    """A log line of a script. `level` is debug, info, warning or error."""

    level: str
    message: str
    time: str


def execute(mesh: Mesh, run: Run, on_log: Callable[[Line], None]) -> Outcome:
    """Run a script and return its outcome; `on_log` gets each log line as it arrives.

    Raises CliError with the position in the script where it failed.
    """
    stub = loki_pb2_grpc.LokiServiceStub(mesh.channel("loki"))
    request = loki_pb2.ExecuteStreamRequest(request=_request(run))
    responses = stub.ExecuteStream(request, timeout=run.timeout_s + QUEUE_S + GRACE_S)
    try:
        for response in mesh.stream("loki", responses):
            if response.HasField("log"):
                on_log(line_of(response.log))
            elif response.HasField("result"):
                return outcome_of(response.result)
    except YggError as e:
        raise failure_at(run.name, e) from e
    raise CliError(f"loki ended the run of {run.name} without a result", hint="Check the service:  ygg status")


def _request(run: Run) -> loki_pb2.ExecuteRequest:
    timeout = Duration()
    timeout.FromNanoseconds(round(run.timeout_s * 1e9))
    return loki_pb2.ExecuteRequest(
        source=run.source,
        language=LANGUAGES[run.language],
        device_id=run.device,
        arguments=values_to_proto(run.arguments or {}),
        limits=loki_pb2.ExecutionLimits(timeout=timeout),
        name=run.name,
    )


def outcome_of(result: loki_pb2.ExecutionResult) -> Outcome:
    """Convert the result of an RPC."""
    return Outcome(
        value_from_proto(result.value),
        result.duration.ToMicroseconds() / 1000,
        result.host_calls,
        tuple(safe(words, 200) for words in result.dropped),
    )


def line_of(entry: loki_pb2.LogEntry) -> Line:
    """Convert a log entry of an RPC."""
    level = loki_pb2.LogLevel.Name(entry.level).removeprefix("LOG_LEVEL_").lower()
    return Line(level, entry.message, entry.time.ToJsonString())


def failure_at(name: str, error: YggError) -> Exception:
    """Return the error of a run, with the position in the script if loki reported one."""
    detail = loki_pb2.ScriptFailure()
    cause = error.__cause__
    if not isinstance(cause, grpc.RpcError) or not status.unpack_detail(cause, detail):
        return error
    where = f"{name}:{detail.line}: " if detail.line else f"{name}: "
    return ScriptFailedError(where, error, detail)
