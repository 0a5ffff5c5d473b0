"""The report's page of a run made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from repick.reports.gather import Report
from repick.reports.page import html, plot
from repick.schedules import RunState, Trigger
from repick.store.reports import Past
from repick.store.runs import Run

NIGHT = datetime(2026, 11, 20, 2, 30, tzinfo=UTC)
FIGURES = {
    "queries": 3,
    "rankings": 2,
    "pairs_total": 30,
    "pairs_reused": 20,
    "pairs_scored": 10,
    "pairs_failed": 0,
    "device_s": 119.6,
    "from_nothing_s": None,
    "duration_s": 59.97,
    "label_mass_mean": 0.9,
    "scorer": "judge:choice",
    "encoder": "clip",
}


def report(*past: Past, reasons: Sequence[Mapping[str, Any]] = ()) -> Report:
    run = Run(
        tenant_id=1,
        schedule_id=1,
        schedule="nightly",
        tick=NIGHT,
        run_id=UUID(int=1),
        trigger=Trigger.TICK,
        state=RunState.HELD,
        reasons=reasons,
        figures=FIGURES,
        created_at=NIGHT,
        window_until=None,
        settled_at=NIGHT,
        published_at=None,
        confirmed_at=None,
        confirmed_by=None,
    )
    return Report(run, None, None, past, (), (), ())


def nights(count: int, apart: timedelta) -> list[Past]:
    return [
        Past(UUID(int=no), NIGHT + no * apart, None if no == 0 else 0.1 * no, 0.0)
        for no in range(count)
    ]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ({"code": "partial", "queries_without_ranking": 1}, "1 of the queries without a ranking"),
        ({"code": "cancelled"}, "cancelled"),
        ({"code": "invalid_alarms", "detail": "max_churn: <no number>"}, "&lt;no number&gt;"),
        ({"code": "churn", "value": 0.25, "threshold": 0.1, "holds": True}, "0.250"),
        ({"code": "time_limit", "detail": None}, "time_limit"),
    ],
)
def test_every_kind_of_reason_is_told(reason: Mapping[str, Any], told: str) -> None:
    page = html(report(reasons=[reason]))
    assert told in page
    assert "None" not in page.replace(">None.<", "")


def test_seconds_become_minutes_and_never_sixty_seconds() -> None:
    page = html(report())
    assert "<b>2 min 0 s</b><span>device time<" in page
    assert "<b>1 min 0 s</b><span>from start to end<" in page
    assert "<b>–</b><span>device time from nothing<" in page


def test_runs_of_one_day_are_told_apart_by_their_time() -> None:
    daily, hourly = (plot(report(*nights(4, timedelta(hours=apart)))) for apart in (24, 1))
    assert daily
    assert (daily.first, daily.last) == ("2026-11-20", "2026-11-23")
    assert hourly
    assert (hourly.first, hourly.last) == ("2026-11-20 02:30", "2026-11-20 05:30")


def test_a_run_without_a_comparison_is_a_gap() -> None:
    past = nights(5, timedelta(days=1))
    past[2] = replace(past[2], churn=None)
    found = plot(report(*past))
    assert found
    churn = found.lines[0]
    assert [len(part.split()) for part in churn.parts] == [1, 2]
    assert [title for *_, title in churn.dots] == [
        "2026-11-21: 10.0%",
        "2026-11-23: 30.0%",
        "2026-11-24: 40.0%",
    ]
    assert plot(report(*past[:2])) is None
