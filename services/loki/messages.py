"""Runs between the protos and the model: languages, limits, logs, results. Every servicer of Loki uses it."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration

from services.chassis import codec
from services.domain import ids
from services.domain.errors import InvalidRequestError
from services.loki import model
from services.loki.errors import InvalidScriptError
from services.loki.fields import FieldType
from services.loki.model import EngineStatus, Language, Level, Limits, LogEntry, Outcome, ProgramWorkersStatus
from yggdrasil.loki.v1 import loki_pb2 as pb
from yggdrasil.loki.v1 import script_pb2 as sp

_LANGUAGES = {pb.LANGUAGE_LUA: Language.LUA, pb.LANGUAGE_SCHEME: Language.SCHEME}
_LANGUAGES_BACK = {language: number for number, language in _LANGUAGES.items()}
_TYPES = {
    sp.SCRIPT_TYPE_UNSPECIFIED: FieldType.ANY,
    sp.SCRIPT_TYPE_BOOL: FieldType.BOOL,
    sp.SCRIPT_TYPE_INT: FieldType.INT,
    sp.SCRIPT_TYPE_DOUBLE: FieldType.DOUBLE,
    sp.SCRIPT_TYPE_STRING: FieldType.STRING,
    sp.SCRIPT_TYPE_BYTES: FieldType.BYTES,
}
_TYPES_BACK = {kind: number for number, kind in _TYPES.items()}
_LEVELS = {
    Level.DEBUG: pb.LOG_LEVEL_DEBUG,
    Level.INFO: pb.LOG_LEVEL_INFO,
    Level.WARNING: pb.LOG_LEVEL_WARNING,
    Level.ERROR: pb.LOG_LEVEL_ERROR,
}


def type_of(name: str, number: sp.ScriptType.ValueType) -> FieldType:
    """Return the type of a parameter or a result; raise InvalidRequestError."""
    kind = _TYPES.get(number)
    if kind is None:
        raise InvalidRequestError(f"{ids.printable(name)} has a type that is not known here: {number}")
    return kind


def type_to_proto(kind: FieldType) -> sp.ScriptType.ValueType:
    """Return the inverse of `type_of`."""
    return _TYPES_BACK[kind]


def language_of(number: pb.Language.ValueType) -> Language:
    """Return the language; raise InvalidScriptError if it is missing or unknown."""
    language = _LANGUAGES.get(number)
    if language is None:
        raise InvalidScriptError("the language is missing or unknown", hint="LUA or SCHEME.", field="language")
    return language


def language_to_proto(language: Language) -> pb.Language.ValueType:
    """Return the number."""
    return _LANGUAGES_BACK[language]


def limits_of(limits: pb.ExecutionLimits) -> Limits:
    """Return the limits, 0 meaning the default; raise InvalidScriptError that states the bounds."""
    timeout_s = limits.timeout.seconds + limits.timeout.nanos / 1e9
    return model.limits(timeout_s, limits.memory_bytes, limits.output_bytes)


def limits_to_proto(limits: Limits) -> pb.ExecutionLimits:
    """Return the message."""
    return pb.ExecutionLimits(
        timeout=duration(limits.timeout_s), memory_bytes=limits.memory_bytes, output_bytes=limits.output_bytes
    )


def duration(seconds: float) -> Duration:
    """Return the message."""
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))


def log_to_proto(entry: LogEntry) -> pb.LogEntry:
    """Return the message."""
    return pb.LogEntry(time=codec.timestamp(entry.time), level=_LEVELS[entry.level], message=entry.message)


def result_to_proto(outcome: Outcome, logs: Sequence[LogEntry] = ()) -> pb.ExecutionResult:
    """Return the message; `value` is absent if the script returned nothing."""
    return pb.ExecutionResult(
        value=None if outcome.value is None else codec.value_to_proto(outcome.value),
        logs=[log_to_proto(entry) for entry in logs],
        duration=duration(outcome.duration_s),
        host_calls=outcome.host_calls,
        dropped=outcome.dropped,
    )


def engine_to_proto(engine: EngineStatus, programs: ProgramWorkersStatus) -> pb.Engine:
    """Return the message."""
    return pb.Engine(
        language=language_to_proto(engine.language),
        version=engine.version,
        available=engine.available,
        reason=engine.problem,
        workers=engine.workers,
        sandbox=engine.sandbox,
        desired_workers=engine.desired,
        workers_busy=engine.busy,
        worker_restarts=engine.restarts,
        program_workers=programs.workers,
        desired_program_workers=programs.desired,
        program_worker_restarts=programs.restarts,
    )
