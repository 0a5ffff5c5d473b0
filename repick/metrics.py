"""Figures of workers and the sweep, for Prometheus: on a small port of their own, off by default.

The API's figures, and what only the database knows, are in `api/metrics.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from repick.jobs import Stage
from repick.settings import Settings

log = structlog.get_logger(__name__)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40)


class WorkerFigures:
    """Slices by stage and end, pairs by where their score came from, and what the device does."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._slices = Counter(
            "repick_slices",
            "Claimed slices by how they ended: done, lease_lost, unavailable, error.",
            ("stage", "outcome"),
            registry=registry,
        )
        self._seconds = Histogram(
            "repick_slice_seconds",
            "From claim to end.",
            ("stage",),
            registry=registry,
            buckets=SECONDS,
        )
        self._pairs = Counter(
            "repick_pairs",
            "Pairs of claimed slices: scored, failed, or reused from the ledger.",
            ("outcome",),
            registry=registry,
        )
        self._items = Counter(
            "repick_embedded_items", "Items by outcome.", ("outcome",), registry=registry
        )
        self._batches = Counter("repick_device_batches", "Batches computed.", registry=registry)
        self._busy = Counter(
            "repick_device_busy_seconds", "Seconds of computing.", registry=registry
        )
        self._waited = Histogram(
            "repick_device_wait_seconds",
            "How long a batch waited for the device.",
            registry=registry,
            buckets=SECONDS,
        )

    def slice(self, stage: Stage, outcome: str, seconds: float) -> None:
        self._slices.labels(stage, outcome).inc()
        self._seconds.labels(stage).observe(seconds)

    def pairs(self, *, scored: int = 0, failed: int = 0, reused: int = 0) -> None:
        for outcome, count in (("scored", scored), ("failed", failed), ("reused", reused)):
            self._pairs.labels(outcome).inc(count)

    def items(self, *, embedded: int, failed: int) -> None:
        self._items.labels("embedded").inc(embedded)
        self._items.labels("failed").inc(failed)

    def batch(self, waited_s: float, busy_s: float) -> None:
        """As `Device` tells of each batch."""
        self._batches.inc()
        self._waited.observe(waited_s)
        self._busy.inc(busy_s)

    def memory(self, kept: Callable[[], Mapping[str, int]]) -> None:
        """Tell at every scrape what a model keeps and has allocated, by its own names, in bytes."""
        gauge = Gauge(
            "repick_model_memory_bytes",
            "Kept for reuse (vision, vision_host, prefixes), and allocated on CUDA.",
            ("what",),
            registry=self._registry,
        )
        for what in kept():
            gauge.labels(what).set_function(partial(_one, kept, what))


def _one(kept: Callable[[], Mapping[str, int]], what: str) -> float:
    return kept()[what]


class SweepFigures:
    """Whether the sweep goes round, and how much it had to publish again."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._published = Counter(
            "repick_sweep_published", "Messages published again.", registry=registry
        )
        self._ticked = Gauge(
            "repick_sweep_last_tick_seconds",
            "When the last round ended well, in seconds since 1970.",
            registry=registry,
        )

    def tick(self, published: int) -> None:
        self._published.inc(published)
        self._ticked.set_to_current_time()


def serve(settings: Settings, registry: CollectorRegistry) -> None:
    """Answer Prometheus on `metrics_port`; 0 is off.

    A port that is taken is no reason not to work: it is logged, and there are no figures.
    """
    if settings.metrics_port == 0:
        return
    try:
        start_http_server(settings.metrics_port, settings.metrics_host, registry)
    except OSError as exc:
        log.error("no metrics", port=settings.metrics_port, reason=str(exc))
