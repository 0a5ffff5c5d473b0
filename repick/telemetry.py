"""One trace from a request to its last batch: W3C trace context, with OpenTelemetry or without.

A job keeps its trace context in its own row, not in a message, so a message that is published again
(or a broker that is wiped) changes nothing. Without the extra `otel`, or with no exporter named in
OTEL_EXPORTER_OTLP_ENDPOINT, spans cost nothing and only the trace id in the logs is left of them.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import structlog

TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_EXPORTS_TO = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

_current: ContextVar[str | None] = ContextVar("repick_traceparent", default=None)


def configure(process: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Export this process's spans by OTLP over HTTP; False where that is not asked for.

    Raises ImportError where it is asked for and the extra `otel` is not installed.
    """
    if not any(environment.get(name) for name in _EXPORTS_TO):
        return False
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": f"repick-{process}"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return True


def current() -> str | None:
    """The trace context of what runs now, as W3C `traceparent`."""
    return _current.get()


def parsed(header: str | None) -> str | None:
    """A `traceparent` from outside, or None where it is not a valid one."""
    given = (header or "").strip().lower()
    return given if TRACEPARENT.fullmatch(given) else None


def trace_id(traceparent: str) -> str:
    return traceparent[3:35]


@contextmanager
def span(name: str, parent: str | None = None, **attributes: str | int) -> Iterator[str]:
    """Run under a span; gives its trace context, and puts the trace id into the logs.

    Its parent is the one given, or else what runs now, or else nothing: then a trace begins.
    """
    above = parsed(parent) or current()
    with _recorded(name, above, attributes) as recorded:
        here = recorded or _child(above)
        token = _current.set(here)
        try:
            with structlog.contextvars.bound_contextvars(trace_id=trace_id(here)):
                yield here
        finally:
            _current.reset(token)


def _recorded(name: str, above: str | None, attributes: Mapping[str, str | int]) -> Any:
    """OpenTelemetry's span as a context manager that gives its `traceparent`; None without one."""
    try:
        from opentelemetry import trace
    except ImportError:
        return nullcontext()
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return nullcontext()  # nobody has asked for spans
    return _otel(name, above, attributes)


@contextmanager
def _otel(
    name: str, above: str | None, attributes: Mapping[str, str | int]
) -> Iterator[str | None]:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagator = TraceContextTextMapPropagator()
    context = propagator.extract({"traceparent": above} if above else {})
    values = {f"repick.{key}": value for key, value in attributes.items()}
    tracer = trace.get_tracer("repick")
    with tracer.start_as_current_span(name, context=context, attributes=values):
        carrier: dict[str, str] = {}
        propagator.inject(carrier)
        yield parsed(carrier.get("traceparent"))


def _child(above: str | None) -> str:
    inside = trace_id(above) if above else secrets.token_hex(16)
    return f"00-{inside}-{secrets.token_hex(8)}-01"
