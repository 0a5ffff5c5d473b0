"""Schedules at work: the sweep takes ticks, closes windows, lets jobs begin and settles runs.

Every step is one transaction over rows that it has locked, so any number of sweeps may run, and
one may die at any point.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import structlog
import uuid_utils.compat
from sqlalchemy import Connection

from repick import schedules as rules
from repick.errors import Conflict, InvalidField, Unavailable
from repick.jobs import JobKind, JobState
from repick.schedules import MissedPolicy, RunState, Trigger, WindowPolicy
from repick.settings import Settings
from repick.specs import Readout
from repick.store import holds, nightly, query_vectors, registry, runs, schedules, sources
from repick.store.database import Database
from repick.store.jobs import NewJob
from repick.store.registry import Registered
from repick.store.runs import Run
from repick.store.schedules import Schedule
from repick.store.slices import Dispatch

log = structlog.get_logger(__name__)


def sweep(database: Database, settings: Settings, now: datetime | None = None) -> None:
    """One round. `now` stands for the database's clock in simulations. Raises Unavailable."""
    while take_tick(database, settings, now):
        pass
    with database.begin() as connection:
        _close_windows(connection, now or schedules.clock(connection))
    with database.begin() as connection:
        nightly.admit(connection, settings.nightly_jobs_per_tenant)
    while settle_ended(database):
        pass


def take_tick(database: Database, settings: Settings, now: datetime | None = None) -> bool:
    """Make the run of one schedule whose tick has come; False where there is none.

    The row of (schedule, tick) is what makes it one run: whoever comes second inserts nothing.
    """
    with database.begin() as connection:
        clock = now or schedules.clock(connection)
        one = schedules.take_due(connection, clock)
        if one is None:
            return False
        assert one.next_at is not None
        tick, trigger = _tick_due(one, one.next_at, clock)
        if trigger is not None:
            begin(connection, settings, one, tick, trigger, clock)
        else:
            log.warning("tick skipped", schedule=one.name, tick=tick.isoformat())
        schedules.ticked(connection, one, rules.next_tick(one.cron, one.time_zone, clock))
    return True


def _tick_due(one: Schedule, first: datetime, now: datetime) -> tuple[datetime, Trigger | None]:
    """The newest tick that has come, and as what it is run: None where it is skipped."""
    later = rules.ticks_between(one.cron, one.time_zone, first, now)
    tick = later[-1] if later else first
    if now - tick <= rules.GRACE:
        return tick, Trigger.TICK
    return tick, Trigger.MADE_UP if one.missed is MissedPolicy.RUN else None


@dataclass(frozen=True, slots=True)
class Begun:
    """A run, and what to publish after the commit: nothing where it could not begin."""

    run_id: UUID
    dispatch: Dispatch | None


def begin(
    connection: Connection,
    settings: Settings,
    one: Schedule,
    tick: datetime,
    trigger: Trigger,
    now: datetime,
) -> Begun | None:
    """Insert the run of a tick and its job; None where the tick has its run.

    A run that cannot begin (no standing query, no scorer) is written down as ended, with why.
    """
    run_id = UUID(int=uuid_utils.compat.uuid7().int)
    closes = None if one.until is None else rules.window_end(one.until, one.time_zone, now)
    if not runs.insert_run(connection, one, tick, run_id, trigger, closes):
        return None
    run = runs.by_id(connection, one.tenant_id, run_id)
    assert run is not None
    try:
        new = _new_job(connection, settings, one, run, closes, now)
        dispatch = nightly.submit(connection, new, one.tags, nightly.IN_LINE)
        if dispatch is None:
            raise InvalidField("tags", "no standing query matches", code="no_standing_queries")
    except (InvalidField, Unavailable) as exc:
        reason = {"code": exc.code, "detail": exc.detail}
        runs.settle(connection, run, RunState.ENDED, [reason], {})
        log.warning("run not begun", schedule=one.name, code=exc.code)
        return Begun(run_id, None)
    log.info("run", schedule=one.name, job_id=str(run_id), trigger=trigger.value)
    return Begun(run_id, dispatch)


def _new_job(
    connection: Connection,
    settings: Settings,
    one: Schedule,
    run: Run,
    closes: datetime | None,
    now: datetime,
) -> NewJob:
    """Raises Unavailable or InvalidField where the scorer is not registered."""
    source = sources.corpus(connection, one.tenant_id, one.corpus)
    assert source is not None  # a schedule goes with its corpus
    scorer = scorer_of(connection, one.scorer, one.blend)
    if scorer is None:
        raise Unavailable("the schedule's scorer is not registered", code="no_scorer")
    ends = closes is not None and one.after_until is WindowPolicy.PARTIAL
    return NewJob(
        id=run.run_id,
        tenant_id=one.tenant_id,
        kind=JobKind.NIGHTLY,
        corpus_id=source.corpus_id,
        corpus_name=source.corpus_name,
        space_id=source.space_id,
        encoder_id=source.encoder_id,
        encoder_queue=source.encoder_queue,
        scorer_id=scorer.id,
        k=one.k,
        top_n=one.top_n,
        query_content_ids=(),
        metadata={"schedule": one.name, "tick": run.tick.isoformat()},
        queries_per_slice=settings.retrieve_slice_queries,
        filter=one.filter,
        blend=one.blend,
        min_score=one.min_score,
        time_limit=closes - now if closes is not None and ends else None,
    )


def scorer_of(connection: Connection, name: str | None, blend: float) -> Registered | None:
    """The scorer that a schedule's name, or none, stands for now; None where none is registered.

    Raises InvalidField where it has no margin to blend.
    """
    found = (
        registry.default_scorer(connection)
        if name is None
        else registry.scorer_named(connection, name)
    )
    if found is not None and blend > 0 and found.specification["readout"] == Readout.PAPER:
        raise InvalidField("blend", "this readout has no margin to blend", code="no_margin")
    return found


def _close_windows(connection: Connection, now: datetime) -> None:
    for closed in nightly.windows_closed(connection, now):
        one = schedules.by_id(connection, closed.tenant_id, closed.schedule_id)
        assert one is not None
        opens = rules.next_tick(one.cron, one.time_zone, now)
        closes = None if one.until is None else rules.window_end(one.until, one.time_zone, opens)
        nightly.put_off(connection, closed, opens, closes)
        log.info("run put off", job_id=str(closed.run_id), until=opens.isoformat())


def settle_ended(database: Database) -> bool:
    """Settle one run whose job has ended: publish it, hold it back, or say that it failed."""
    with database.begin() as connection:
        run = runs.take_ended(connection)
        if run is None:
            return False
        state = settle(connection, run)
    log.info("run settled", job_id=str(run.run_id), state=state.value)
    return True


def settle(connection: Connection, run: Run) -> RunState:
    """Publishing and switching `latest` to the run are this transaction."""
    one = schedules.by_id(connection, run.tenant_id, run.schedule_id)
    assert one is not None
    figures = nightly.figures(connection, run)
    if figures is None:
        runs.settle(connection, run, RunState.ENDED, [{"code": "job_deleted"}], {})
        return RunState.ENDED
    query_vectors.forget(connection, run.tenant_id)
    if figures["state"] not in (JobState.SUCCEEDED, JobState.PARTIAL):
        reason = figures["error"] or {"code": figures["state"]}
        runs.settle(connection, run, RunState.ENDED, [reason], figures)
        return RunState.ENDED
    reasons = holds.reasons(connection, one, run, figures)
    state = RunState.HELD if holds.held(reasons) else RunState.PUBLISHED
    runs.settle(connection, run, state, reasons, figures)
    return state


def run_now(connection: Connection, settings: Settings, one: Schedule) -> Begun:
    """Begin a run at this instant, beside whatever the cron expression says."""
    now = schedules.clock(connection)
    made = begin(connection, settings, one, now, Trigger.MANUAL, now)
    assert made is not None  # the schedule is locked: nobody else takes this instant
    nightly.admit(connection, settings.nightly_jobs_per_tenant)
    return made


def run_date(connection: Connection, settings: Settings, one: Schedule, day: date) -> Begun:
    """Begin the run of a local date's tick, over the corpus as it is now.

    Raises InvalidField where the date has no tick or it is still to come, Conflict where it has
    its run.
    """
    now = schedules.clock(connection)
    tick = rules.tick_of_date(one.cron, one.time_zone, day)
    if tick is None:
        raise InvalidField("date", "the schedule does not tick on this date", code="no_tick")
    if tick > now:
        raise InvalidField("date", "this tick is still to come", code="tick_to_come")
    made = begin(connection, settings, one, tick, Trigger.DATE, now)
    if made is None:
        raise Conflict("this tick has its run", code="run_exists", tick=tick.isoformat())
    nightly.admit(connection, settings.nightly_jobs_per_tenant)
    return made
