"""Figures for operators: how nightly runs stand. Of all tenants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class RunFigures:
    """`lag_s`: how long the tick that waits longest has been due; 0 where none is.

    `latest_age_s`: of the schedule whose latest run's tick is the oldest, paused ones left out.
    `reuse_share`: of the pairs that runs settled within a day needed, those the ledger had. Both
    are None where there is nothing to say. `states`: running and held runs, and those that ended
    otherwise within a day.
    """

    lag_s: float
    latest_age_s: float | None
    reuse_share: float | None
    states: Mapping[str, int]


_SCHEDULES = text(
    """
    SELECT coalesce(extract(epoch FROM now() - min(next_at) FILTER (WHERE next_at <= now())), 0)
               ::float8 AS lag_s,
           extract(epoch FROM now() - min(latest_tick))::float8 AS latest_age_s
    FROM schedule WHERE paused_at IS NULL
    """
)
_RUNS = text(
    """
    SELECT state::text AS state, count(*) AS n, sum((figures->>'pairs_total')::float8) AS total,
           sum((figures->>'pairs_reused')::float8) AS reused
    FROM schedule_run WHERE state IN ('running', 'held') OR settled_at > now() - interval '1 day'
    GROUP BY state
    """
)


def figures(connection: Connection) -> RunFigures:
    head = connection.execute(_SCHEDULES).one()
    rows = list(connection.execute(_RUNS))
    total = sum(row.total or 0 for row in rows)
    reused = sum(row.reused or 0 for row in rows)
    return RunFigures(
        head.lag_s,
        head.latest_age_s,
        reused / total if total else None,
        {row.state: int(row.n) for row in rows},
    )
