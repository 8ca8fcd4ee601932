"""Scripts on the mesh: the request, the stream of what they log, and how they end.

Owns the gRPC side of `ygg script`. Does not print and reads no file.
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
"""How much longer than the script may run the command waits for the answer: loki says so itself when no worker is free
in time, and its longest wait (YGG_LOKI_QUEUE_WAIT_S) is at most QUEUE_S."""

LANGUAGES = {"lua": loki_pb2.LANGUAGE_LUA, "scheme": loki_pb2.LANGUAGE_SCHEME}
_TRACE_LINES = 20


@dataclass(frozen=True, slots=True)
class Run:
    """What to run. `language` is a key of LANGUAGES; `name` is for messages; `timeout_s` bounds the script."""

    source: str
    language: str
    name: str
    device: str = ""
    arguments: Mapping[str, Value] | None = None
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a script returned; `duration_ms` is measured by the mesh, `dropped` are timers and handlers of its end."""

    value: Value
    duration_ms: float
    host_calls: int
    dropped: tuple[str, ...] = ()


class ScriptFailedError(YggError):
    """A script that ended without a result; code and reason are those of the run, `where` is `blink.lua:7: `."""

    def __init__(self, where: str, error: YggError, detail: loki_pb2.ScriptFailure) -> None:
        trace = [safe(line, 200) for line in detail.traceback.splitlines()[:_TRACE_LINES]]
        hint = "\n".join(part for part in (error.hint, *(trace if len(trace) > 1 else ())) if part)
        reason = detail.reason or error.reason
        super().__init__(where + (detail.message or error.message), hint=hint, line=detail.line)
        self.code, self.reason = error.code, reason
        self.data["fate"] = reason  # other calls of the script may have been sent, so nothing is said of the device


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a script's log. `level` is debug, info, warning or error."""

    level: str
    message: str
    time: str


def execute(mesh: Mesh, run: Run, on_log: Callable[[Line], None]) -> Outcome:
    """Run a script, telling its log as it comes. Raises CliError that says where in the script it failed."""
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
    raise CliError(f"loki ended the run of {run.name} without a result", hint="Its log says why:  ygg status")


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
    """The result, as the command shows it."""
    return Outcome(
        value_from_proto(result.value),
        result.duration.ToMicroseconds() / 1000,
        result.host_calls,
        tuple(safe(words, 200) for words in result.dropped),
    )


def line_of(entry: loki_pb2.LogEntry) -> Line:
    """A line of the log, as the command shows it."""
    level = loki_pb2.LogLevel.Name(entry.level).removeprefix("LOG_LEVEL_").lower()
    return Line(level, entry.message, entry.time.ToJsonString())


def failure_at(name: str, error: YggError) -> Exception:
    """The error of the run of that name with the place in the script, where loki told one."""
    detail = loki_pb2.ScriptFailure()
    cause = error.__cause__
    if not isinstance(cause, grpc.RpcError) or not status.unpack_detail(cause, detail):
        return error
    where = f"{name}:{detail.line}: " if detail.line else f"{name}: "
    return ScriptFailedError(where, error, detail)
