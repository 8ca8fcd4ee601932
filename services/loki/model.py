"""The model of a run and its limits. Pure: no process, no network.

The bounds are those that loki.proto states; the numbers a caller leaves out become the defaults here.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from services.domain import ids
from services.domain.values import Value, check
from services.loki.errors import InvalidScriptError

MIB = 1024 * 1024
MAX_SOURCE_BYTES = 256 * 1024
MAX_NAME_BYTES = 255
MAX_ARGUMENTS = 64
LOG_ENTRY_OVERHEAD_BYTES = 16
_NOT_IN_TOKEN = re.compile(r"[^a-z0-9_]+")


class Language(enum.Enum):
    """The language of a script."""

    LUA = "lua"
    SCHEME = "scheme"


class Level(enum.Enum):
    """How grave a log entry is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a run: wall-clock seconds, bytes of the script's memory, bytes of log and result together."""

    timeout_s: float = 10.0
    memory_bytes: int = 16 * MIB
    output_bytes: int = 64 * 1024


DEFAULT_LIMITS = Limits()
MIN_LIMITS = Limits(timeout_s=0.001, memory_bytes=MIB, output_bytes=1)
MAX_LIMITS = Limits(timeout_s=300.0, memory_bytes=256 * MIB, output_bytes=MIB)


def limits(timeout_s: float, memory_bytes: int, output_bytes: int) -> Limits:
    """Return the limits of a request, 0 meaning the default; raise InvalidScriptError that states the bounds."""

    def bounded(name: str, unit: str, given: float, default: float, low: float, high: float) -> float:
        if given == 0:
            return default
        if not low <= given <= high:
            raise InvalidScriptError(
                f"{name} is {given:g} {unit}; {low:g} to {high:g} are allowed", limit=name, field=f"limits.{name}"
            )
        return given

    low, high, usual = MIN_LIMITS, MAX_LIMITS, DEFAULT_LIMITS
    return Limits(
        bounded("timeout", "s", timeout_s, usual.timeout_s, low.timeout_s, high.timeout_s),
        int(bounded("memory_bytes", "bytes", memory_bytes, usual.memory_bytes, low.memory_bytes, high.memory_bytes)),
        int(bounded("output_bytes", "bytes", output_bytes, usual.output_bytes, low.output_bytes, high.output_bytes)),
    )


@dataclass(frozen=True, slots=True)
class Script:
    """A script to run, checked by `script`. `device_id` empty means no default device.

    `check_only`: it is compiled, and nothing of it is executed.
    """

    source: str
    language: Language
    name: str = "script"
    device_id: str = ""
    arguments: Mapping[str, Value] = field(default_factory=dict)
    limits: Limits = DEFAULT_LIMITS
    check_only: bool = False

    @property
    def token(self) -> str:
        """Return the name as an id, for subjects: `examples/Sweep Fleet.lua` is `sweep_fleet`."""
        stem = self.name.rpartition("/")[2].rpartition(".")
        token = _NOT_IN_TOKEN.sub("_", (stem[0] or stem[2]).lower()).strip("_")[:32]
        return token if token[:1].isalpha() else f"s_{token}"[:32].rstrip("_")


def script(
    source: str,
    language: Language,
    *,
    name: str = "",
    device_id: str = "",
    arguments: Mapping[str, Value] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Script:
    """Return a checked script; raise InvalidScriptError, InvalidIdError or InvalidRequestError."""
    if not source.strip():
        raise InvalidScriptError("the source is empty", field="source")
    if "\0" in source:
        raise InvalidScriptError("the source holds a NUL byte, so it is not a text", field="source")
    if len(source.encode()) > MAX_SOURCE_BYTES:
        raise InvalidScriptError(
            f"the source is {len(source.encode())} bytes, at most {MAX_SOURCE_BYTES} are allowed", field="source"
        )
    if len(name.encode()) > MAX_NAME_BYTES:
        raise InvalidScriptError(f"the name is longer than {MAX_NAME_BYTES} bytes", field="name")
    if device_id:
        ids.device_id(device_id)
    given = dict(arguments or {})
    if len(given) > MAX_ARGUMENTS:
        raise InvalidScriptError(f"{len(given)} arguments, at most {MAX_ARGUMENTS} are allowed", field="arguments")
    check(given)
    return Script(source, language, ids.printable(name, 120) or "script", device_id, given, limits)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A line of a script's log."""

    time: datetime
    level: Level
    message: str

    @property
    def size_bytes(self) -> int:
        """Return the size that counts against the output limit; an empty line counts, too."""
        return len(self.message.encode()) + LOG_ENTRY_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run and its resource use; `duration_s` from its start to its end, without the wait for a worker.

    `dropped` are the timers and handlers that it had when it ended, in words: they are not for runs but for programs.
    """

    value: Value
    duration_s: float
    host_calls: int
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The status of a language; `problem` says why it cannot run and how to fix it, `sandbox` names its sandbox."""

    language: Language
    version: str
    available: bool
    problem: str
    workers: int
    sandbox: str = ""
    desired: int = 0
    busy: int = 0
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class ProgramWorkersStatus:
    """The workers that programs of a language live in; `restarts` counts those that ended with programs in them."""

    workers: int
    desired: int
    restarts: int
