"""What a schedule's runs gave: the latest, each run, and one query's history."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from api import openapi
from api.auth import Reader, Submitter
from api.job_reads import calibration_of, page_size
from api.long_reads import in_turn
from api.pages import Cursor, Limit, next_link
from api.routes.items import ItemId as QueryId
from api.routes.schedules import ScheduleName, one_schedule
from api.schedule_views import (
    HistoryOut,
    LatestOut,
    PastRankingOut,
    RunOut,
    RunsOut,
    StandingRankingOut,
    StandingRankingsOut,
    schedule_path,
)
from api.schemas import MAX_ID_CHARS
from api.services import Services, services_of
from api.views import View
from repick.errors import Conflict, NotFound
from repick.store import calibrations, histories, jobs, runs
from repick.store.database import Connection
from repick.store.runs import Run

router = APIRouter(tags=["schedules"])

Serviced = Annotated[Services, Depends(services_of)]
OneQuery = Annotated[
    str | None,
    Query(max_length=MAX_ID_CHARS, pattern=r"^[^\x00]*$", description="Only this query's."),
]


@router.get("/v1/runs/{run}", response_model=RunOut, responses=openapi.errors(404))
def show_run(who: Reader, services: Serviced, run: UUID) -> RunOut:
    """A run with its figures; `…/rankings` has its rankings."""
    with services.database.read() as connection:
        found = runs.by_id(connection, who.tenant_id, run)
    if found is None:
        raise no_run()
    return RunOut.of(found)


@router.get(
    "/v1/runs/{run}/rankings",
    response_model=StandingRankingsOut,
    responses=openapi.errors(400, 404),
)
def list_run_rankings(
    who: Reader, services: Serviced, run: UUID, cursor: Cursor = None
) -> Response:
    """A run's rankings with the ids of their standing queries; what it has so far, if it runs."""
    after = int(services.cursors.read(f"rankings.{run}", cursor)) if cursor is not None else -1
    with services.database.read() as connection:
        found = runs.by_id(connection, who.tenant_id, run)
        if found is None:
            raise no_run()
        shown, link = _ranking_page(services, connection, found, None, after)
    return _json(StandingRankingsOut(items=shown, next=link))


@router.get(
    "/v1/schedules/{schedule}/runs", response_model=RunsOut, responses=openapi.errors(400, 404)
)
def list_runs(
    who: Reader,
    services: Serviced,
    schedule: ScheduleName,
    limit: Limit = 30,
    cursor: Cursor = None,
) -> RunsOut:
    """A schedule's runs, the newest tick first."""
    with services.database.read() as connection:
        one = one_schedule(connection, who.tenant_id, schedule)
        purpose = f"runs.{who.tenant_id}.{one.id}"
        before = _instant(services, purpose, cursor)
        page = runs.of_schedule(connection, who.tenant_id, one.id, before, limit + 1)
    link = None
    if len(page) > limit:
        page = page[:limit]
        last = services.cursors.write(purpose, page[-1].tick.isoformat())
        link = next_link(f"{schedule_path(schedule)}/runs", limit=limit, cursor=last)
    return RunsOut(items=[RunOut.of(one) for one in page], next=link)


@router.get(
    "/v1/schedules/{schedule}/latest", response_model=LatestOut, responses=openapi.errors(404)
)
def show_latest(
    who: Reader, services: Serviced, schedule: ScheduleName, query: OneQuery = None
) -> Response:
    """The latest run that was published, and its rankings: always one whole run's.

    `next` goes on in that run, also when another one has become the latest meanwhile.
    """
    with services.database.read() as connection:
        one = one_schedule(connection, who.tenant_id, schedule)
        run = one.latest_run and runs.by_id(connection, who.tenant_id, one.latest_run)
        if not run:
            raise NotFound("no run was published yet", code="no_latest_run")
        shown, link = _ranking_page(services, connection, run, query)
    if query is not None and not shown:
        raise NotFound("the latest run has no ranking of this query", code="query_not_found")
    return _json(LatestOut(run=RunOut.of(run), rankings=shown, next=link))


def _ranking_page(
    services: Services, connection: Connection, run: Run, query: str | None, after: int = -1
) -> tuple[list[StandingRankingOut], str | None]:
    """Rankings past query number `after`, and the link to those past them in the same run.

    How many hits each has is the run's: its schedule may have been changed since. Raises NotFound
    where they were deleted for their age.
    """
    job = jobs.view(connection, run.tenant_id, run.run_id)
    if job is None:
        if run.published_at is None:  # it could not begin
            return [], None
        detail = "the rankings of this run were deleted: they were past their age"
        raise NotFound(detail, code="rankings_deleted", run=run.run_id)
    size = page_size(job.top_n)
    page = histories.of_run(connection, run.tenant_id, run.run_id, query, size + 1, after)
    calibration = calibrations.latest(connection, run.tenant_id, job.scorer_fingerprint)
    map = calibration.map if calibration else None
    shown = [
        StandingRankingOut.of(one.ranking, map, standing_query=one.name) for one in page[:size]
    ]
    if len(page) <= size:
        return shown, None
    cursor = services.cursors.write(f"rankings.{run.run_id}", shown[-1].query)
    return shown, next_link(f"/v1/runs/{run.run_id}/rankings", cursor=cursor)


@router.get(
    "/v1/schedules/{schedule}/queries/{item:path}/history",
    response_model=HistoryOut,
    responses=openapi.errors(400, 404),
)
async def show_history(
    who: Reader,
    services: Serviced,
    schedule: ScheduleName,
    item: QueryId,
    limit: Limit = 30,
    cursor: Cursor = None,
) -> Response:
    """One standing query's rankings in the runs that were published or are held.

    Up to `limit`, or so many as have 1,000 hits; `next` leads to the others.
    """
    work = partial(_history, services, who.tenant_id, schedule, item, limit, cursor)
    return await in_turn(services, work)


@router.post(
    "/v1/schedules/{schedule}/runs/{run}/confirm",
    response_model=RunOut,
    responses=openapi.errors(404, 409),
)
def confirm_run(who: Submitter, services: Serviced, schedule: ScheduleName, run: UUID) -> RunOut:
    """Publish a run that is held: it becomes the latest unless a later one is."""
    with services.database.begin() as connection:
        one = one_schedule(connection, who.tenant_id, schedule)
        found = runs.by_id(connection, who.tenant_id, run, to_change=True)
        if found is None or found.schedule_id != one.id:
            raise no_run()
        if not runs.confirm(connection, found, f"key {who.key_id}"):
            raise Conflict("the run is not held", code="run_not_held", state=found.state)
        shown = runs.by_id(connection, who.tenant_id, run)
    assert shown is not None
    return RunOut.of(shown)


def _history(
    services: Services, tenant_id: int, schedule: str, item: str, limit: int, cursor: str | None
) -> Response:
    with services.database.read() as connection:
        one = one_schedule(connection, tenant_id, schedule)
        purpose = f"history.{tenant_id}.{one.id}.{item}"
        before = _instant(services, purpose, cursor)
        size = min(limit, page_size(one.top_n))
        page = histories.of_query(connection, tenant_id, one.id, item, before, size + 1)
    link = None
    if len(page) > size:
        page = page[:size]
        last = services.cursors.write(purpose, page[-1].run.tick.isoformat())
        path = f"{schedule_path(schedule)}/queries/{quote(item)}/history"
        link = next_link(path, limit=limit, cursor=last)
    scorers = {_scorer(past.run) for past in page}
    maps = {key: calibration_of(services, tenant_id, key) for key in scorers if key}
    shown = HistoryOut(
        items=[
            PastRankingOut(
                run=past.run.run_id,
                tick=past.run.tick,
                state=past.run.state,
                ranking=StandingRankingOut.of(
                    past.ranking, maps.get(_scorer(past.run)), standing_query=item
                ),
            )
            for past in page
        ],
        next=link,
    )
    return _json(shown)


def no_run() -> NotFound:
    return NotFound("there is no run of this id", code="run_not_found")


def _json(shown: View) -> Response:
    """Written at once: FastAPI would make a dictionary of each hit first, which takes longer."""
    return Response(shown.model_dump_json(), media_type="application/json")


def _instant(services: Services, purpose: str, cursor: str | None) -> datetime | None:
    if cursor is None:
        return None
    return datetime.fromisoformat(services.cursors.read(purpose, cursor))


def _scorer(run: Run) -> str:
    """The fingerprint of a settled run's scorer."""
    return str(run.figures.get("scorer_fingerprint", ""))
