"""Logs: one JSON object a line, whatever is in it."""

from __future__ import annotations

import io
import json
import logging
import sys
from datetime import datetime
from typing import Any

import grpc.aio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

from services.chassis import logs
from services.chassis.logs import JsonFormatter


def written(message: str, *args: object, level: int = logging.INFO, **extra: object) -> str:
    """The output of a logger with our formatter."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("ota", "replica-1"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.log(level, message, *args, extra=extra)
    return stream.getvalue()


def test_line_has_time_level_and_service() -> None:
    line = json.loads(written("ready %s", "now", listen="127.0.0.1:1", count=3, level=logging.WARNING))
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert line == {
        "level": "warning",
        "service": "ota",
        "instance": "replica-1",
        "msg": "ready now",
        "listen": "127.0.0.1:1",
        "count": 3,
    }


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


@given(st.text(), anything)
@example('x"}\n{"level": "critical", "msg": "forged"}', None)
@example("\r\n\x1b[2J\u2028\x85", None)
@example("\ud800", "\udfff")
@example("", float("nan"))
@example("", {"deep": [float("inf")]})
@example("", {("a", "tuple"): "as key"})
@example("", {1: "number", b"b": "bytes"})
def test_nothing_breaks_out_of_the_line(message: str, value: object) -> None:
    line = written("%s", message, value=value)
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1
    assert line.isascii()
    assert "\x1b" not in line
    entry = json.loads(line, parse_constant=refuse)
    assert entry["msg"] == message
    assert (entry["level"], entry["service"]) == ("info", "ota")


def test_extra_data_does_not_pass_itself_off_as_the_service() -> None:
    entry = json.loads(written("hello", service="registry", time="never", instance="x", msg_id=1))
    assert (entry["service"], entry["instance"], entry["msg"], entry["msg_id"]) == ("ota", "replica-1", "hello", 1)
    assert entry["time"] != "never"
    assert (entry["service_"], entry["instance_"], entry["time_"]) == ("registry", "x", "never")  # and nothing is lost


def test_exception_is_logged_on_the_same_line() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("ota", "replica-1"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    try:
        raise ValueError("line one\nline two")
    except ValueError:
        logger.exception("it failed")
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert entry["level"] == "error"
    assert "line one\nline two" in entry["exception"]
    assert "Traceback" in entry["exception"]


def test_a_line_carries_the_trace_that_it_belongs_to() -> None:
    with TracerProvider().get_tracer("test").start_as_current_span("work") as span:
        inside = json.loads(written("inside"))
    assert inside["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert "trace_id" not in json.loads(written("outside"))


@pytest.fixture
def root() -> Any:
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_the_process_logs_to_standard_error_from_its_level_on(root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure("ota", "replica-1", "warning")
    logging.getLogger("services.ota").info("quiet")
    logging.getLogger("services.ota").warning("heard")
    assert [json.loads(line)["msg"] for line in stream.getvalue().splitlines()] == ["heard"]


def test_response_to_departed_caller_is_not_an_error(root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure("ota", "replica-1", "info")
    core = logging.getLogger(logs.GRPC)
    for error in (grpc.aio.InternalError("write"), ValueError("a fault")):
        try:
            raise error
        except Exception:
            core.exception("raised by servicer method")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: a fault" in json.loads(line)["exception"]
