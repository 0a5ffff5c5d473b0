"""The chaos harness itself: a short storm violates nothing, and a missing protection is found."""

from __future__ import annotations

import pytest

from benchmarks.chaos.client import Load
from benchmarks.chaos.faults import COUNTS, Fault
from benchmarks.chaos.run import run
from benchmarks.chaos.stack import Setup

pytestmark = pytest.mark.acceptance


def test_a_storm_of_every_fault_loses_and_changes_nothing() -> None:
    outcome = run(Setup(), Load(jobs=25, k=50, seconds=45, seed=7, cancelled=2), scale=0)
    assert set(outcome.injected) == set(COUNTS)
    assert outcome.accepted == 25
    assert outcome.findings.violations == 0, outcome.table()


def test_a_wiped_broker_without_a_sweep_is_found() -> None:
    setup, load = (
        Setup(broken="sweep"),
        Load(jobs=6, k=50, seconds=4, seed=1, cancelled=0, poisoned=0),
    )
    wipes = [Fault(at_s, "wipe broker") for at_s in (1.0, 2.0, 3.0, 4.0)]
    outcome = run(setup, load, faults=wipes, quiet_s=10)
    assert outcome.findings.unfinished > 0
