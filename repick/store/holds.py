"""What a settled run says of itself, and whether it becomes the latest without anybody's word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from repick.alarms import alarms, parse
from repick.errors import InvalidField, NotFound
from repick.jobs import JobState
from repick.store import comparing, runs
from repick.store.runs import Run
from repick.store.schedules import Schedule

Reason = Mapping[str, Any]
COMPARED_QUERIES = 2_000
"""A larger run is compared at its end only where a threshold needs it: the sweep waits for it."""


def reasons(
    connection: Connection, schedule: Schedule, run: Run, figures: Mapping[str, Any]
) -> Sequence[Reason]:
    """Why people should look at the run, each with a `code` and whether it `holds` the run back.

    `figures` are those that the run is settled with (`repick.store.run_figures`).
    """
    found = [*_alarms(connection, schedule, run, figures)]
    if figures["state"] != JobState.SUCCEEDED:
        missing = figures["queries"] - figures["rankings"]
        found.insert(0, {"code": "partial", "queries_without_ranking": missing})
    return found


def held(found: Sequence[Reason]) -> bool:
    return any(one.get("holds", True) for one in found)


def _alarms(
    connection: Connection, schedule: Schedule, run: Run, figures: Mapping[str, Any]
) -> list[Reason]:
    try:
        thresholds = parse(schedule.alarms)
    except InvalidField as exc:  # written by hand: a run that nobody can judge is not published
        return [{"code": "invalid_alarms", "detail": f"{exc.field}: {exc.detail}"}]
    before = runs.previous(connection, run)
    summary = None
    if before and (thresholds.compare or figures["queries"] <= COMPARED_QUERIES):
        with suppress(NotFound):  # its rankings were past their age: as where there is none before
            summary = comparing.summary(connection, run.tenant_id, before.run_id, run.run_id)
    passed = alarms(figures, before.figures if before else None, summary, thresholds)
    return [asdict(one) | {"holds": thresholds.hold} for one in passed]
