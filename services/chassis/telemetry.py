"""OpenTelemetry: SDK setup, and trace context through gRPC and NATS.

No exporter by default. Traces are exported by OTLP over gRPC if a standard variable sets an endpoint
(OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT); the SDK's other variables apply as well.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def configure(service: str, instance_id: str, version: str) -> TracerProvider:
    """Install the tracer provider of this process. The caller shuts it down at the end."""
    resource = Resource.create(
        {
            "service.namespace": "yggdrasil",
            "service.name": service,
            "service.instance.id": instance_id,
            "service.version": version,
        }
    )
    provider = TracerProvider(resource=resource)
    if any(os.environ.get(name) for name in _ENDPOINTS):
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


def tracer() -> trace.Tracer:
    """Return the tracer of the mesh."""
    return _tracer_of(trace.get_tracer_provider())


@functools.cache
def _tracer_of(provider: trace.TracerProvider) -> trace.Tracer:
    """Return a cached tracer: creating one, as the SDK does on each call, costs a quarter of a span."""
    return provider.get_tracer("yggdrasil")


def inject() -> dict[str, str]:
    """Return the current trace context as headers (`traceparent`, …), for gRPC metadata and NATS headers alike."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def extract(headers: Mapping[str, str] | Sequence[tuple[str, str | bytes]] | None) -> otel_context.Context:
    """Return the trace context in a peer's headers or metadata."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    return propagate.extract({key: value for key, value in pairs if isinstance(value, str)})
