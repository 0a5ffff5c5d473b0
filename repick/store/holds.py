"""Why a run that has its rankings does not become the latest by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from repick.jobs import JobState
from repick.store.runs import Run
from repick.store.schedules import Schedule

Reason = Mapping[str, Any]


def reasons(
    connection: Connection, schedule: Schedule, run: Run, figures: Mapping[str, Any]
) -> Sequence[Reason]:
    """What holds the run back, each with a `code`; nothing lets it be published.

    `figures` are those that the run is settled with (`repick.store.run_figures`).
    """
    if figures["state"] != JobState.SUCCEEDED:
        missing = figures["queries"] - figures["rankings"]
        return [{"code": "partial", "queries_without_ranking": missing}]
    return []
