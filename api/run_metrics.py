"""Gauges of nightly runs, from the database."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from repick.schedules import RunState
from repick.store.run_figures import RunFigures


def gauges(one: RunFigures) -> Iterator[Metric]:
    """What there is nothing to say about is left out, rather than said to be 0."""
    yield GaugeMetricFamily(
        "repick_run_lag_seconds", "How long the oldest due tick has waited.", value=one.lag_s
    )
    if one.latest_age_s is not None:
        text = "Age of the latest run's tick, of the schedule that has the oldest."
        yield GaugeMetricFamily("repick_latest_age_seconds", text, value=one.latest_age_s)
    if one.reuse_share is not None:
        text = "Share of pairs that runs settled within a day found in the ledger."
        yield GaugeMetricFamily("repick_run_reuse_share", text, value=one.reuse_share)
    text = "Runs: all that run or are held, others that were settled within a day."
    states = GaugeMetricFamily("repick_runs", text, labels=["state"])
    for state in RunState:
        states.add_metric([state], one.states.get(state, 0))
    yield states
