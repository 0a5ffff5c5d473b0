"""Runs: a schedule's ticks and the jobs that they made. A run's id is its job's id."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select, text
from sqlalchemy.dialects.postgresql import insert

from repick.schedules import RunState, Trigger
from repick.store import schedules
from repick.store.schedules import Schedule
from repick.tables import schedule, schedule_run


@dataclass(frozen=True, slots=True)
class Run:
    """One tick of a schedule; `figures` are filled when the run is settled."""

    tenant_id: int
    schedule_id: int
    schedule: str
    tick: datetime
    run_id: UUID
    trigger: Trigger
    state: RunState
    reasons: Sequence[Mapping[str, Any]]
    figures: Mapping[str, Any]
    created_at: datetime
    window_until: datetime | None
    settled_at: datetime | None
    published_at: datetime | None
    confirmed_at: datetime | None
    confirmed_by: str | None


_RUNS = select(schedule_run, schedule.c.name.label("schedule")).join(
    schedule,
    (schedule.c.tenant_id == schedule_run.c.tenant_id)
    & (schedule.c.id == schedule_run.c.schedule_id),
)


def insert_run(
    connection: Connection,
    one: Schedule,
    tick: datetime,
    run_id: UUID,
    trigger: Trigger,
    window_until: datetime | None,
) -> bool:
    """Take a tick; False where it has its run already."""
    statement = insert(schedule_run).values(
        tenant_id=one.tenant_id,
        schedule_id=one.id,
        tick=tick,
        run_id=run_id,
        trigger=trigger,
        state=RunState.RUNNING,
        window_until=window_until,
    )
    taken = statement.on_conflict_do_nothing().returning(schedule_run.c.run_id)
    return connection.execute(taken).first() is not None


def by_id(
    connection: Connection, tenant_id: int, run_id: UUID, *, to_change: bool = False
) -> Run | None:
    """The run of this id; with `to_change` it is locked until the transaction ends."""
    statement = _RUNS.where(schedule_run.c.tenant_id == tenant_id, schedule_run.c.run_id == run_id)
    if to_change:
        statement = statement.with_for_update(of=schedule_run)
    row = connection.execute(statement).first()
    return _run(row) if row else None


def of_schedule(
    connection: Connection, tenant_id: int, schedule_id: int, before: datetime | None, limit: int
) -> list[Run]:
    """Up to `limit` runs of a schedule, the newest tick first, those of ticks before `before`."""
    statement = _RUNS.where(
        schedule_run.c.tenant_id == tenant_id, schedule_run.c.schedule_id == schedule_id
    )
    if before is not None:
        statement = statement.where(schedule_run.c.tick < before)
    rows = connection.execute(statement.order_by(schedule_run.c.tick.desc()).limit(limit))
    return [_run(row) for row in rows]


def previous(connection: Connection, one: Run) -> Run | None:
    """The published run of the newest tick before this run's: what it is compared with."""
    row = connection.execute(
        _RUNS.where(
            schedule_run.c.tenant_id == one.tenant_id,
            schedule_run.c.schedule_id == one.schedule_id,
            schedule_run.c.tick < one.tick,
            schedule_run.c.state == RunState.PUBLISHED,
        )
        .order_by(schedule_run.c.tick.desc())
        .limit(1)
    ).first()
    return _run(row) if row else None


def query_names(connection: Connection, tenant_id: int, run_id: UUID) -> dict[int, str]:
    """The standing queries' external ids by the run's query numbers, as they were."""
    rows = connection.execute(
        text(
            "SELECT query_no, standing_query FROM job_query WHERE job_id = :run"
            " AND tenant_id = :tenant AND standing_query IS NOT NULL ORDER BY query_no"
        ),
        {"run": run_id, "tenant": tenant_id},
    )
    return {row.query_no: row.standing_query for row in rows}


_TAKE_ENDED = text(
    """
    SELECT r.tenant_id, r.run_id FROM schedule_run r
    LEFT JOIN job ON job.id = r.run_id AND job.tenant_id = r.tenant_id
    WHERE r.state = 'running' AND (job.id IS NULL OR job.finished_at IS NOT NULL)
    ORDER BY r.created_at LIMIT 1 FOR UPDATE OF r SKIP LOCKED
    """
)


def take_ended(connection: Connection) -> Run | None:
    """One running run whose job has ended, locked: a sweep beside this one takes another."""
    row = connection.execute(_TAKE_ENDED).first()
    return by_id(connection, row.tenant_id, row.run_id) if row else None


_SETTLE = text(
    """
    UPDATE schedule_run SET state = CAST(:state AS run_state), settled_at = now(),
        reasons = CAST(:reasons AS jsonb), figures = CAST(:figures AS jsonb),
        published_at = CASE WHEN :state = 'published' THEN now() END
    WHERE tenant_id = :tenant AND run_id = :run AND state = 'running'
    """
)


def settle(
    connection: Connection,
    one: Run,
    state: RunState,
    reasons: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Any],
) -> None:
    """Write down how a run ended; a published one becomes the latest in the same transaction."""
    connection.execute(
        _SETTLE,
        {
            "tenant": one.tenant_id,
            "run": one.run_id,
            "state": state.value,
            "reasons": json.dumps(list(reasons)),
            "figures": json.dumps(dict(figures)),
        },
    )
    if state is RunState.PUBLISHED:
        schedules.switch(connection, one.tenant_id, one.schedule_id, one.run_id, one.tick)


def confirm(connection: Connection, one: Run, who: str) -> bool:
    """Publish a held run; False where it is not held (any more)."""
    confirmed = connection.execute(
        text(
            "UPDATE schedule_run SET state = 'published', published_at = now(),"
            " confirmed_at = now(), confirmed_by = :who"
            " WHERE tenant_id = :tenant AND run_id = :run AND state = 'held'"
        ),
        {"tenant": one.tenant_id, "run": one.run_id, "who": who},
    )
    if confirmed.rowcount != 1:
        return False
    schedules.switch(connection, one.tenant_id, one.schedule_id, one.run_id, one.tick)
    return True


def _run(row: Row[Any]) -> Run:
    return Run(**{name: getattr(row, name) for name in Run.__slots__})
