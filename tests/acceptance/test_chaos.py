"""The chaos harness itself: a short storm violates nothing."""

from __future__ import annotations

import pytest

from benchmarks.chaos.client import Load
from benchmarks.chaos.plan import COUNTS
from benchmarks.chaos.run import run
from benchmarks.chaos.stack import Setup

pytestmark = pytest.mark.acceptance


def test_a_storm_of_every_fault_loses_and_changes_nothing() -> None:
    outcome = run(Setup(), Load(jobs=25, k=50, seconds=45, seed=7, cancelled=2), scale=0)
    assert set(outcome.injected) == set(COUNTS)
    assert outcome.accepted == 25
    assert outcome.violations == 0, outcome.table()
