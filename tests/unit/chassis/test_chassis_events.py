"""CloudEvents headers and trace context."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from services.chassis import cloudevents, telemetry
from yggdrasil.common.v1.contract_pb2 import Contract

TRACER = TracerProvider().get_tracer("test")


def headers(time: datetime = datetime(2026, 1, 2, 3, 4, 5, 678_900, UTC)) -> dict[str, str]:
    return cloudevents.headers(
        event_id="porch-1/boot/7", source="ygg://main/device/porch-1", subject="temp0.over", body=Contract(), time=time
    )


def test_an_event_has_the_attributes_of_cloudevents_1_0() -> None:
    assert headers() == {
        "ce-specversion": "1.0",
        "ce-id": "porch-1/boot/7",
        "ce-source": "ygg://main/device/porch-1",
        "ce-type": "io.yggdrasil.common.v1.Contract",
        "ce-subject": "temp0.over",
        "ce-time": "2026-01-02T03:04:05.678Z",
        "content-type": "application/protobuf",
        "Nats-Msg-Id": "porch-1/boot/7",
    }


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)), st.integers(-14, 14))
def test_the_time_is_in_utc_whatever_zone_it_came_in(when: datetime, hours: int) -> None:
    aware = when.replace(tzinfo=timezone(timedelta(hours=hours)))
    stamp = headers(aware)["ce-time"]
    assert stamp.endswith("Z")
    assert timedelta() <= aware - datetime.fromisoformat(stamp) < timedelta(milliseconds=1)


def test_an_event_carries_the_trace_it_was_sent_in() -> None:
    with TRACER.start_as_current_span("send") as span:
        sent = headers()
    received = trace.get_current_span(telemetry.extract(sent)).get_span_context()
    assert received.trace_id == span.get_span_context().trace_id
    assert received.span_id == span.get_span_context().span_id


def test_a_trace_travels_in_grpc_metadata_as_well() -> None:
    with TRACER.start_as_current_span("call") as span:
        metadata: list[tuple[str, str | bytes]] = [*telemetry.inject().items(), ("ygg-bin", b"\x00\xff")]
    received = trace.get_current_span(telemetry.extract(metadata)).get_span_context()
    assert received.trace_id == span.get_span_context().trace_id


def test_outside_a_trace_nothing_is_sent_and_garbage_is_no_trace() -> None:
    assert telemetry.inject() == {}
    for garbage in (
        None,
        {},
        {"traceparent": "nonsense"},
        [("traceparent", "00-" + "0" * 32 + "-" + "0" * 16 + "-01")],
    ):
        assert not trace.get_current_span(telemetry.extract(garbage)).get_span_context().is_valid
