"""/metrics: figures of this process's requests, and of the database when it is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api import run_metrics
from repick.errors import Unavailable
from repick.jobs import JobState
from repick.store import figures, run_figures
from repick.store.database import Database

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestFigures:
    """Counts and latencies by route template: a path itself would be a label without end."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("method", "route")
        self._count = Counter(
            "repick_http_requests", "Requests.", (*labels, "status"), registry=registry
        )
        self._seconds = Histogram(
            "repick_http_request_seconds", "Time to the last byte.", labels, registry=registry
        )
        self.running = Gauge(
            "repick_http_requests_running", "Requests not answered yet.", registry=registry
        )

    def record(self, method: str, route: str, status: int, seconds: float) -> None:
        method = method if method in _METHODS else "other"
        self._count.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


class DatabaseFigures(Collector):
    """Asks Postgres at every scrape; `repick_database_up` is 0 where it does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> list[Metric]:
        """Nothing: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        try:
            with self._database.begin() as connection:
                queues = figures.queues(connection)
                jobs = figures.jobs(connection)
                embedding = figures.embedding(connection)
                runs = run_figures.figures(connection)
        except Unavailable:
            yield _gauge("repick_database_up", "Whether Postgres answers.", 0)
            return
        yield _gauge("repick_database_up", "Whether Postgres answers.", 1)
        yield from _queue_gauges(queues)
        yield _job_gauge(jobs)
        yield from run_metrics.gauges(runs)
        pending, failed = embedding.pending, embedding.failed
        yield _gauge("repick_embeddings_pending", "Items that wait for their vector.", pending)
        yield _gauge("repick_embeddings_failed", "Items that cannot get a vector.", failed)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _queue_gauges(queues: list[figures.QueueFigures]) -> Iterator[Metric]:
    depth = GaugeMetricFamily("repick_queue_depth", "Slices that wait.", labels=["queue"])
    age = GaugeMetricFamily(
        "repick_queue_oldest_age_seconds", "Age of the oldest job that waits.", labels=["queue"]
    )
    for one in queues:
        depth.add_metric([one.queue], one.waiting)
        age.add_metric([one.queue], one.oldest_age_s)
    yield from (depth, age)


def _job_gauge(jobs: Mapping[str, int]) -> Metric:
    text = "Jobs by state: all that live, and those of the last 24 hours that have ended."
    gauge = GaugeMetricFamily("repick_jobs", text, labels=["state"])
    for state in JobState:
        gauge.add_metric([state], jobs.get(state, 0))
    return gauge
