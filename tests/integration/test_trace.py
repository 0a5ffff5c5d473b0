"""One trace from a request to its ranking, also when the broker forgot the message."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import redis
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest

from repick import telemetry
from repick.jobs import JobState
from repick.metrics import WorkerFigures
from repick.processes import free_port
from repick.queue import make_app
from repick.settings import Settings
from repick.store import keys
from repick.sweep import Sweep
from tests.fakes import ENCODER
from tests.integration.api.harness import serving
from tests.integration.pipeline import Pipeline

ABOVE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(trace, "get_tracer", lambda name, *_, **__: provider.get_tracer(name))
    yield exporter
    provider.shutdown()


@pytest.fixture
def settings(database_url: str, broker_url: str, tmp_path: Path) -> Settings:
    return Settings(
        database_url=database_url, broker_url=broker_url, data_dir=tmp_path, api_port=free_port()
    )


def submit(url: str, key: str) -> str:
    headers = {"Authorization": f"Bearer {key}", "traceparent": ABOVE}
    body = {"corpus": "shapes", "query": {"text": "a circle"}, "k": 2}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as http:
        answer = http.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_a_trace_goes_from_the_request_to_the_ranking_over_a_wiped_broker(
    pipeline: Pipeline, settings: Settings, spans: InMemorySpanExporter
) -> None:
    pipeline.put({"a": "a circle", "b": "a square"})
    spans.clear()  # embedding belongs to no job
    with pipeline.database.begin() as connection:
        key = keys.create_key(connection, pipeline.tenant_id, "test")
    with serving(settings) as url:
        job = submit(url, key)
    with redis.Redis.from_url(settings.broker_url) as broker:
        assert broker.llen(ENCODER.queue) == 1
        broker.flushall()
        app = make_app(settings.broker_url)
        assert Sweep(settings, pipeline.database, app).tick() == 1
        message = json.loads(broker.lindex(ENCODER.queue, 0) or b"{}")
        app.close()
    assert message["headers"]["argsrepr"] == f"['{job}']"
    assert pipeline.run(UUID(job)).state is JobState.SUCCEEDED
    finished = [one for one in spans.get_finished_spans() if one.name.startswith("repick.")]
    assert {one.name for one in finished} == {
        "repick.request",
        "repick.retrieve",
        "repick.encode",
        "repick.score",
        "repick.batch",
        "repick.rank",
    }
    trace_ids = {f"{one.context.trace_id:032x}" for one in finished}
    assert trace_ids == {telemetry.trace_id(ABOVE)}
    request = next(one for one in finished if one.name == "repick.request")
    stages = [one for one in finished if one.name in {"repick.retrieve", "repick.score"}]
    assert all(one.parent and one.parent.span_id == request.context.span_id for one in stages)


def test_a_worker_counts_slices_pairs_and_what_the_ledger_had(pipeline: Pipeline) -> None:
    registry = CollectorRegistry()
    object.__setattr__(pipeline.runtime, "figures", WorkerFigures(registry))
    pipeline.put({"a": "a circle", "b": "a square", "c": "this is unreadable"})
    pipeline.run(pipeline.submit(["a query"]))
    text = generate_latest(registry).decode()
    for line in (
        'repick_pairs_total{outcome="scored"} 2.0',
        'repick_pairs_total{outcome="failed"} 1.0',
        'repick_slices_total{outcome="done",stage="score"} 1.0',
        'repick_slices_total{outcome="done",stage="rank"} 1.0',
        'repick_embedded_items_total{outcome="embedded"} 3.0',
    ):
        assert line in text
