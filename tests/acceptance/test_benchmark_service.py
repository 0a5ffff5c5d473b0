"""The service's own benchmark on real processes with free models, and the tour of the docs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.service import Bench, Sizes, measure
from benchmarks.service_stack import Stack, running

pytestmark = pytest.mark.acceptance

TOUR = Path(__file__).resolve().parents[2] / "docs" / "tour.py"


@pytest.fixture(scope="module")
def free_stack() -> Iterator[Stack]:
    with running() as stack:
        yield stack


def test_every_figure_is_measured_and_every_job_succeeds(free_stack: Stack) -> None:
    rows = {row.metric: row for row in measure(Bench(free_stack, Sizes(0.5, 0.5, 3)))}
    goals = {name: (row.goal, row.sense) for name, row in rows.items() if row.goal is not None}
    assert goals == {
        "accepted_per_s": (300, ">="),
        "poll_p99_ms": (20, "<="),
        "overloaded_poll_p99_ms": (300, "<="),
        "overload_times": (10, ">="),
        "overhead_p50_ms": (50, "<="),
    }
    assert set(rows) > {"submit_p50_ms", "submit_p99_ms", "drained_per_s"}
    assert all(row.value > 0 for name, row in rows.items() if name != "overhead_p50_ms")


def test_the_tour_runs_from_top_to_bottom(free_stack: Stack, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_stack.settings.api_port}"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(TOUR)],
        env={
            **os.environ,
            "REPICK_API_URL": url,
            "REPICK_API_KEY": free_stack.key,
            "PYTHONPATH": str(TOUR.parents[1]),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "4 of 4 pairs reused" in done.stdout
    assert "2 rankings are still there" in done.stdout
