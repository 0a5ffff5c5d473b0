"""Schedules: when a corpus's standing queries are ranked again, and which run is the latest.

A corpus is locked before its schedules' runs, and these before their schedule, everywhere: so no
two transactions wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from repick.schedules import MissedPolicy, RunState, WindowPolicy
from repick.tables import corpus, schedule, schedule_run


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as its owner sees it; `latest_run` is the newest published run's id.

    `scorer` is a name that is resolved at each tick (the default one without a name); `tags`, where
    given, leave the standing queries that carry one of them. `alarms` are thresholds that hold a
    run back.
    """

    tenant_id: int
    id: int
    name: str
    corpus_id: int
    corpus: str
    cron: str
    time_zone: str
    missed: MissedPolicy
    until: time | None
    after_until: WindowPolicy
    scorer: str | None
    k: int
    top_n: int
    filter: Mapping[str, Any] | None
    blend: float
    min_score: float | None
    tags: Sequence[str] | None
    alarms: Mapping[str, Any]
    metadata: Mapping[str, Any]
    paused_at: datetime | None
    next_at: datetime | None
    latest_run: UUID | None
    latest_tick: datetime | None
    latest_at: datetime | None
    created_at: datetime
    updated_at: datetime


_ALL = select(schedule, corpus.c.name.label("corpus")).join(
    corpus, (corpus.c.tenant_id == schedule.c.tenant_id) & (corpus.c.id == schedule.c.corpus_id)
)
_OF_TENANT = _ALL.where(schedule.c.tenant_id == bindparam("tenant"))
_NAMED = _OF_TENANT.where(schedule.c.name == bindparam("name"))
_BY_ID = _OF_TENANT.where(schedule.c.id == bindparam("id"))
_DUE = _ALL.where(schedule.c.paused_at.is_(None), schedule.c.next_at <= bindparam("now")).order_by(
    schedule.c.next_at
)


# Nobody deletes the corpus while its schedule is changed or begins a run.
_TO_CHANGE = _NAMED.with_for_update(read=True, of=corpus).suffix_with(
    text("FOR UPDATE OF schedule")
)
_TO_TICK = (
    _DUE.limit(1)
    .with_for_update(read=True, of=corpus, skip_locked=True)
    .suffix_with(text("FOR UPDATE OF schedule SKIP LOCKED"))
)


def create(connection: Connection, tenant_id: int, values: Mapping[str, Any]) -> int | None:
    """The new schedule's id, of columns by name; None where the tenant has one of that name."""
    statement = insert(schedule).values(tenant_id=tenant_id, **values).on_conflict_do_nothing()
    found = connection.execute(statement.returning(schedule.c.id)).scalar()
    return int(found) if found is not None else None


def named(
    connection: Connection, tenant_id: int, name: str, *, to_change: bool = False
) -> Schedule | None:
    """The schedule of that name; with `to_change` it is locked until the transaction ends."""
    statement = _TO_CHANGE if to_change else _NAMED
    row = connection.execute(statement, {"tenant": tenant_id, "name": name}).first()
    return _schedule(row) if row else None


def by_id(connection: Connection, tenant_id: int, schedule_id: int) -> Schedule | None:
    row = connection.execute(_BY_ID, {"tenant": tenant_id, "id": schedule_id}).first()
    return _schedule(row) if row else None


def listed(connection: Connection, tenant_id: int, after: str, limit: int) -> list[Schedule]:
    """Up to `limit` of the tenant's schedules by name, those past `after`."""
    statement = _OF_TENANT.where(schedule.c.name > after).order_by(schedule.c.name).limit(limit)
    return [_schedule(row) for row in connection.execute(statement, {"tenant": tenant_id})]


def change(
    connection: Connection, tenant_id: int, schedule_id: int, values: Mapping[str, Any]
) -> None:
    """Set columns by name."""
    connection.execute(
        update(schedule)
        .where(schedule.c.tenant_id == tenant_id, schedule.c.id == schedule_id)
        .values(**values, updated_at=func.now())
    )


def remove(connection: Connection, tenant_id: int, schedule_id: int) -> None:
    """Delete a schedule with the list of its runs; their jobs and rankings stay as any job's."""
    hold_runs(connection, tenant_id, schedule.c.id == schedule_id)
    connection.execute(
        delete(schedule).where(schedule.c.tenant_id == tenant_id, schedule.c.id == schedule_id)
    )


def hold_runs(connection: Connection, tenant_id: int, among: ColumnElement[bool]) -> None:
    """Let those end who settle or publish a run of the schedules `among` them all."""
    connection.execute(
        select(schedule_run.c.run_id)
        .join(
            schedule,
            (schedule.c.tenant_id == schedule_run.c.tenant_id)
            & (schedule.c.id == schedule_run.c.schedule_id),
        )
        .where(
            schedule_run.c.tenant_id == tenant_id,
            schedule_run.c.state.in_((RunState.RUNNING, RunState.HELD)),
            among,
        )
        .order_by(schedule_run.c.run_id)
        .with_for_update(of=schedule_run)
    )


def take_due(connection: Connection, now: datetime) -> Schedule | None:
    """One schedule whose tick has come, locked: a sweep beside this one takes another."""
    row = connection.execute(_TO_TICK, {"now": now}).first()
    return _schedule(row) if row else None


def ticked(connection: Connection, one: Schedule, next_at: datetime) -> None:
    """The schedule waits for its next tick."""
    connection.execute(
        update(schedule)
        .where(schedule.c.tenant_id == one.tenant_id, schedule.c.id == one.id)
        .values(next_at=next_at)
    )


_SWITCH = text(
    """
    UPDATE schedule SET latest_run = :run, latest_tick = :tick, latest_at = now()
    WHERE tenant_id = :tenant AND id = :id AND (latest_tick IS NULL OR latest_tick < :tick)
    """
)


def switch(
    connection: Connection, tenant_id: int, schedule_id: int, run: UUID, tick: datetime
) -> bool:
    """Point `latest` to a run in one statement; False where a later tick's run is there already."""
    binds = {"tenant": tenant_id, "id": schedule_id, "run": run, "tick": tick}
    return connection.execute(_SWITCH, binds).rowcount == 1


def clock(connection: Connection) -> datetime:
    """The database's time: sweeps and the API go by the same clock."""
    found: datetime = connection.execute(select(func.now())).scalar_one()
    return found


def _schedule(row: Row[Any]) -> Schedule:
    return Schedule(**{name: getattr(row, name) for name in Schedule.__slots__})
