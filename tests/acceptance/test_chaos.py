"""The chaos harness itself: a short storm violates nothing."""

from __future__ import annotations

import pytest

from benchmarks.chaos.client import Load
from benchmarks.chaos.plan import COUNTS
from benchmarks.chaos.run import run
from benchmarks.chaos.scenarios import scenario
from benchmarks.chaos.stack import Setup

pytestmark = pytest.mark.acceptance


def test_a_storm_of_every_fault_loses_and_changes_nothing() -> None:
    outcome = run(Setup(), Load(jobs=25, k=50, seconds=45, seed=7, cancelled=2), scale=0)
    assert set(outcome.injected) == set(COUNTS)
    assert outcome.accepted == 25
    assert outcome.violations == 0, outcome.table()


def test_a_night_killed_at_10_50_and_90_percent_equals_an_undisturbed_one() -> None:
    """kill -9 right after a batch was computed: its scores are the same, at most it came twice."""
    rows = scenario("nights", 1)
    assert {row.metric for row in rows if row.goal is not None} >= {
        "nights_different",
        "nights_kills_under_way",
        "nights_batches_again_per_kill",
    }
    assert [row for row in rows if row.met is False] == []
