"""Trace context: passed on as W3C says, with OpenTelemetry's spans where somebody wants them."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from repick import telemetry
from worker.device import Device

ABOVE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """A provider of this test alone: OpenTelemetry's own can be set once a process."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(trace, "get_tracer", lambda name: provider.get_tracer(name))
    yield exporter
    provider.shutdown()


def test_a_span_goes_on_with_the_trace_that_it_is_given() -> None:
    with telemetry.span("one", ABOVE) as outer, telemetry.span("two") as inner:
        assert {telemetry.trace_id(one) for one in (outer, inner)} == {telemetry.trace_id(ABOVE)}
        assert len({ABOVE, outer, inner}) == 3
        assert telemetry.current() == inner
    assert telemetry.current() is None


def test_without_a_parent_a_trace_begins() -> None:
    with telemetry.span("one") as first:
        pass
    with telemetry.span("two") as second:
        pass
    assert telemetry.parsed(first) == first
    assert telemetry.trace_id(first) != telemetry.trace_id(second)


@pytest.mark.parametrize(
    "header",
    [None, "", "x", ABOVE[:-1], "00-" + "0" * 32 + ABOVE[35:], "ff" + ABOVE[2:], ABOVE + "\n0"],
)
def test_what_is_no_trace_context_is_not_taken_on(header: str | None) -> None:
    assert telemetry.parsed(header) is None
    with telemetry.span("one", header) as here:
        assert telemetry.parsed(here)


def test_logs_within_a_span_have_its_trace_id() -> None:
    with telemetry.span("one", ABOVE):
        assert structlog.contextvars.get_contextvars()["trace_id"] == telemetry.trace_id(ABOVE)
    assert "trace_id" not in structlog.contextvars.get_contextvars()


def test_spans_are_recorded_where_a_provider_is_set(spans: InMemorySpanExporter) -> None:
    with telemetry.span("outer", ABOVE, job_id="j"), telemetry.span("inner"):
        pass
    inner, outer = spans.get_finished_spans()
    assert (inner.name, outer.name) == ("inner", "outer")
    assert outer.attributes == {"repick.job_id": "j"}
    assert outer.parent is not None
    assert inner.parent is not None
    assert f"{outer.parent.span_id:016x}" == ABOVE[36:52]
    assert inner.parent.span_id == outer.context.span_id
    assert f"{inner.context.trace_id:032x}" == telemetry.trace_id(ABOVE)


def test_the_device_thread_goes_on_with_the_trace_of_who_submits() -> None:
    seen: list[tuple[float, float]] = []
    with (
        Device(20, on_batch=lambda *times: seen.append(times)) as device,
        telemetry.span("slice", ABOVE) as here,
    ):
        assert device.submit(telemetry.current).result() == here
        assert contextvars.copy_context().run(telemetry.current) == here
    assert len(seen) == 1
    assert all(seconds >= 0 for seconds in seen[0])


def test_nothing_is_exported_unless_an_address_is_given() -> None:
    assert telemetry.configure("api", {}) is False
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
