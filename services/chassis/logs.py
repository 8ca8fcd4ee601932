"""Structured logs: one JSON object a line on standard error, with its trace.

`log.info("ready", extra={"listen": "127.0.0.1:50051"})` becomes
`{"time": …, "level": "info", "service": …, "msg": "ready", "listen": …}`.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import grpc.aio
from opentelemetry import trace

GRPC = "grpc._cython.cygrpc"
"""The logger of gRPC's Cython layer."""
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; untrusted text cannot break the line."""

    def __init__(self, service: str, instance_id: str) -> None:
        super().__init__()
        self._fixed = {"service": service, "instance": instance_id}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, object] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            **self._fixed,
            "msg": record.getMessage(),
        }
        extra = {k: v for k, v in vars(record).items() if k not in _STANDARD and not k.startswith("_")}
        entry.update({k if k not in entry else f"{k}_": v for k, v in extra.items()})
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            entry["trace_id"] = f"{span.trace_id:032x}"
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(_plain(entry), default=str)


def _plain(value: object) -> object:
    """Return the value with text for what JSON cannot express: keys that are not strings, NaN and infinities."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def configure(service: str, instance_id: str, level: str) -> None:
    """Send the logs of this process to standard error as JSON. Called once, by `__main__`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service, instance_id))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("nats").setLevel("WARNING")
    logging.getLogger(GRPC).addFilter(_is_fault)


def _is_fault(record: logging.LogRecord) -> bool:
    """Return False for a response that cannot be written because the caller has left.

    grpc.aio ignores that too, unless the write fails before it learns that the call was cancelled.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, grpc.aio.InternalError)


class Throttle:
    """Rate limit for log lines that peers can cause: at most BURST per PERIOD_S for each message and subject.

    Suppressed lines are only counted; the next line that is written carries the count.
    """

    BURST = 10
    PERIOD_S = 60.0
    MAX_SUBJECTS = 1024

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now`: seconds of a monotonic clock."""
        self._now = now
        self._windows: OrderedDict[tuple[str, str], _Window] = OrderedDict()

    def log(self, log: logging.Logger, level: int, message: str, *, about: str = "", **extra: object) -> None:
        """Log with `about` and `extra` as fields, unless the limit of this period is reached."""
        now_s, key = self._now(), (message, about)
        window = self._windows.get(key)
        if window is None or now_s - window.since_s >= self.PERIOD_S:
            suppressed = window.suppressed if window else 0
            window = self._windows[key] = _Window(now_s)
            self._windows.move_to_end(key)
            if len(self._windows) > self.MAX_SUBJECTS:
                self._windows.popitem(last=False)
            if suppressed:
                extra["suppressed"] = suppressed
        window.count += 1
        if window.count > self.BURST:
            window.suppressed += 1
            return
        log.log(level, message, extra={"about": about, **extra} if about else extra)


@dataclass(slots=True)
class _Window:
    since_s: float
    count: int = 0
    suppressed: int = 0
