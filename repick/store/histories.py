"""Rankings over time: those of one run by their queries' names, and one query's over its runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from repick.store import driver, runs
from repick.store.rankings import COLUMNS, Ranking, ranking_of
from repick.store.runs import Run


@dataclass(frozen=True, slots=True)
class Named:
    """A ranking and its standing query's id; None in a job that was no run."""

    name: str | None
    ranking: Ranking


@dataclass(frozen=True, slots=True)
class Past:
    run: Run
    ranking: Ranking


_OF_RUN = f"""
    SELECT {COLUMNS}, q.standing_query FROM job_query q
    JOIN ranking r ON r.job_id = q.job_id AND r.query_no = q.query_no
    WHERE q.job_id = %(run)s AND q.tenant_id = %(tenant)s
      AND (CAST(%(name)s AS text) IS NULL OR q.standing_query = %(name)s)
      AND q.query_no > %(after)s
    ORDER BY q.query_no LIMIT %(limit)s
"""
# Each run by itself: as one join over the weeks it is planned for parallel workers, whose start
# takes longer than all of it.
_OF_QUERY = f"""
    SELECT ranked.* FROM unnest(CAST(%(runs)s AS uuid[])) run CROSS JOIN LATERAL (
        SELECT {COLUMNS} FROM job_query q
        JOIN ranking r ON r.job_id = q.job_id AND r.query_no = q.query_no
        WHERE q.job_id = run AND q.standing_query = %(name)s AND q.tenant_id = %(tenant)s LIMIT 1
    ) ranked
"""
_READABLE = ("published", "held")
MOST_LOOKED_AT = 100
"""Runs at once: where a query has no rankings, each step looks at twice as many as the last."""


def of_run(
    connection: Connection,
    tenant_id: int,
    run_id: UUID,
    name: str | None,
    limit: int,
    after: int = -1,
) -> list[Named]:
    """A run's rankings by query number, those past `after`, or that of one standing query."""
    binds = {"run": run_id, "tenant": tenant_id, "name": name, "limit": limit, "after": after}
    rows = driver.rows(connection, _OF_RUN, binds, binary=True)
    return [Named(row.standing_query, ranking_of(row)) for row in rows]


def of_query(
    connection: Connection,
    tenant_id: int,
    schedule_id: int,
    name: str,
    before: datetime | None,
    limit: int,
) -> list[Past]:
    """A query's rankings in up to `limit` runs, the newest tick first, before `before`.

    A run that has no ranking of the query (it came later, or could not be ranked) is passed over.
    """
    found: list[Past] = []
    looked_at = limit
    while len(found) < limit:
        page = runs.of_schedule(connection, tenant_id, schedule_id, before, looked_at)
        by_id = {run.run_id: run for run in page if run.state.value in _READABLE}
        binds = {"runs": list(by_id), "name": name, "tenant": tenant_id}
        rows = driver.rows(connection, _OF_QUERY, binds, binary=True)
        rankings = {row.job_id: ranking_of(row) for row in rows}
        found += [Past(run, rankings[key]) for key, run in by_id.items() if key in rankings]
        if len(page) < looked_at:
            break
        before = page[-1].tick
        looked_at = min(2 * looked_at, MOST_LOOKED_AT)
    return found[:limit]
