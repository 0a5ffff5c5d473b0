"""Alarms: each threshold is passed beyond its value, not at it, and never without a figure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from repick.alarms import Alarm, Thresholds, alarms, parse
from repick.compare import Summary
from repick.errors import InvalidField

SUMMARY = Summary(
    queries=4,
    only_before=0,
    only_after=0,
    unchanged=1,
    entered=3,
    left=3,
    moved=2,
    churn=0.5,
    top1_churn=0.25,
    tau_mean=0.5,
    tau_min=0.0,
    rbo_mean=0.75,
    rbo_min=0.25,
    score_change_mean=0.0,
    movers=(),
    least_alike=(),
)
FIGURES: dict[str, Any] = {
    "pairs_failed": 1,
    "pairs_total": 8,
    "queries": 4,
    "rankings": 3,
    "duration_s": 90.0,
    "label_mass_mean": 0.75,
    "scorer_fingerprint": "one",
}
BEFORE = FIGURES | {"label_mass_mean": 1.0}
# The threshold's name, the alarm's code, the figure above, and a threshold that it is beyond.
EACH = [
    ("max_churn", "churn", 0.5, 0.375),
    ("max_top1_churn", "top1_churn", 0.25, 0.125),
    ("min_rank_biased_overlap", "rank_biased_overlap", 0.75, 0.875),
    ("max_failed_pairs", "failed_pairs", 0.125, 0.0625),
    ("max_failed_queries", "failed_queries", 0.25, 0.125),
    ("max_duration_s", "duration_s", 90.0, 89.0),
    ("max_label_mass_drift", "label_mass_drift", 0.25, 0.125),
]


@pytest.mark.parametrize(("name", "code", "figure", "passed"), EACH)
def test_each_threshold_is_passed_beyond_it_alone(
    name: str, code: str, figure: float, passed: float
) -> None:
    found = alarms(FIGURES, BEFORE, SUMMARY, parse({name: passed}))
    assert found == (Alarm(code, figure, passed),)
    assert alarms(FIGURES, BEFORE, SUMMARY, parse({name: figure})) == ()
    assert alarms({}, None, None, parse({name: passed})) == ()


def test_no_threshold_is_never_passed() -> None:
    assert alarms(FIGURES, BEFORE, SUMMARY, Thresholds()) == ()


def test_another_scorers_label_mass_is_no_drift() -> None:
    other = BEFORE | {"scorer_fingerprint": "another"}
    assert alarms(FIGURES, other, SUMMARY, parse({"max_label_mass_drift": 0.0})) == ()


def test_runs_without_a_common_query_have_no_churn() -> None:
    empty = replace(SUMMARY, churn=None, top1_churn=None, rbo_mean=None)
    strict = Thresholds(max_churn=0.0, max_top1_churn=0.0, min_rank_biased_overlap=1.0)
    assert alarms(FIGURES, BEFORE, empty, strict) == ()


@pytest.mark.parametrize("name", [name for name, *_ in EACH])
@pytest.mark.parametrize(
    "value", [-0.1, True, "0.5", float("nan"), float("inf"), pytest.param(10**400, id="huge")]
)
def test_what_is_no_threshold_is_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidField) as refused:
        parse({name: value})
    assert refused.value.field == f"alarms.{name}"
