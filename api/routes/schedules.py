"""Schedules: made, shown, changed, paused, deleted, and run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from api import openapi, schedule_checks
from api.auth import Reader, Submitter
from api.ingest import no_corpus
from api.pages import Cursor, Limit, next_link
from api.payload import read_json
from api.schedule_schemas import SCHEDULE_EXAMPLE, RunRequest, SchedulePatch, ScheduleRequest
from api.schedule_views import RunOut, ScheduleOut, SchedulesOut, schedule_path
from api.services import Services, services_of
from repick import nightly
from repick.errors import Conflict, InvalidField, NotFound
from repick.schedules import next_tick
from repick.specs import NAME
from repick.store import corpora, runs, schedules
from repick.store.database import Connection
from repick.store.schedules import Schedule

router = APIRouter(prefix="/v1/schedules", tags=["schedules"])

Serviced = Annotated[Services, Depends(services_of)]


async def schedule_name(schedule: str) -> str:
    """A dependency; raises NotFound for what cannot be a name, before the database sees it."""
    if not NAME.fullmatch(schedule):
        raise no_schedule()
    return schedule


ScheduleName = Annotated[str, Depends(schedule_name)]


@router.post(
    "",
    status_code=201,
    response_model=ScheduleOut,
    responses=openapi.errors(400, 404, 409, 413, 415),
    openapi_extra=openapi.json_body(ScheduleRequest, nightly={"value": SCHEDULE_EXAMPLE}),
)
async def create_schedule(
    request: Request, response: Response, who: Submitter, services: Serviced
) -> ScheduleOut:
    """Rank a corpus's standing queries again by a cron expression with a time zone."""
    wanted = await read_json(request, ScheduleRequest)
    values = schedule_checks.columns(wanted, services.settings)
    made = await run_in_threadpool(_create, services, who.tenant_id, wanted.corpus, values)
    response.headers["Location"] = schedule_path(made.name)
    return made


@router.get("", response_model=SchedulesOut, responses=openapi.errors(400))
def list_schedules(
    who: Reader, services: Serviced, limit: Limit = 100, cursor: Cursor = None
) -> SchedulesOut:
    purpose = f"schedules.{who.tenant_id}"
    after = services.cursors.read(purpose, cursor) if cursor is not None else ""
    with services.database.read() as connection:
        page = schedules.listed(connection, who.tenant_id, after, limit + 1)
    link = None
    if len(page) > limit:
        page = page[:limit]
        last = services.cursors.write(purpose, page[-1].name)
        link = next_link("/v1/schedules", limit=limit, cursor=last)
    return SchedulesOut(items=[ScheduleOut.of(one) for one in page], next=link)


@router.get("/{schedule}", response_model=ScheduleOut, responses=openapi.errors(404))
def show_schedule(who: Reader, services: Serviced, schedule: ScheduleName) -> ScheduleOut:
    with services.database.read() as connection:
        return ScheduleOut.of(one_schedule(connection, who.tenant_id, schedule))


@router.patch(
    "/{schedule}",
    response_model=ScheduleOut,
    responses=openapi.errors(400, 404, 413, 415),
    openapi_extra=openapi.json_body(SchedulePatch, later={"value": {"cron": "0 4 * * *"}}),
)
async def change_schedule(
    request: Request, who: Submitter, services: Serviced, schedule: ScheduleName
) -> ScheduleOut:
    """Change what is given; a run that has begun goes on as it was."""
    patch = await read_json(request, SchedulePatch)

    def work(one: Schedule, now: datetime) -> dict[str, Any]:
        values = schedule_checks.changes(patch, one, services.settings)
        if {"cron", "time_zone"} & values.keys():
            whole = {"cron": one.cron, "time_zone": one.time_zone} | values
            values["next_at"] = next_tick(whole["cron"], whole["time_zone"], now)
        return values

    return await run_in_threadpool(_change, services, who.tenant_id, schedule, work)


@router.delete("/{schedule}", status_code=204, responses=openapi.errors(404))
def delete_schedule(who: Submitter, services: Serviced, schedule: ScheduleName) -> Response:
    """Delete a schedule and the list of its runs; their jobs stay, as any job's."""
    with services.database.begin() as connection:
        one = one_schedule(connection, who.tenant_id, schedule)
        schedules.remove(connection, who.tenant_id, one.id)
    return Response(status_code=204)


@router.post("/{schedule}/pause", response_model=ScheduleOut, responses=openapi.errors(404))
def pause_schedule(who: Submitter, services: Serviced, schedule: ScheduleName) -> ScheduleOut:
    """No tick comes until it is resumed; a run that has begun goes on."""

    def values(one: Schedule, now: datetime) -> dict[str, Any]:
        return {"paused_at": one.paused_at or now}

    return _change(services, who.tenant_id, schedule, values)


@router.post("/{schedule}/resume", response_model=ScheduleOut, responses=openapi.errors(404))
def resume_schedule(who: Submitter, services: Serviced, schedule: ScheduleName) -> ScheduleOut:
    """Ticks come again from now on; those of the pause are not made up."""

    def values(one: Schedule, now: datetime) -> dict[str, Any]:
        if one.paused_at is None:
            return {}
        return {"paused_at": None, "next_at": next_tick(one.cron, one.time_zone, now)}

    return _change(services, who.tenant_id, schedule, values)


@router.post(
    "/{schedule}/runs",
    status_code=202,
    response_model=RunOut,
    responses=openapi.errors(400, 404, 409, 413, 415),
    openapi_extra=openapi.json_body(
        RunRequest, now={"value": {}}, date={"value": {"date": "2026-11-26"}}
    ),
)
async def run_schedule(
    request: Request, response: Response, who: Submitter, services: Serviced, schedule: ScheduleName
) -> RunOut:
    """Run now, or the tick of a date; also while paused."""
    wanted = await read_json(request, RunRequest)
    day = schedule_checks.day(wanted.date) if wanted.date is not None else None

    def work() -> RunOut:
        with services.database.begin() as connection:
            one = one_schedule(connection, who.tenant_id, schedule, to_change=True)
            if day is None:
                begun = nightly.run_now(connection, services.settings, one)
            else:
                begun = nightly.run_date(connection, services.settings, one, day)
            run = runs.by_id(connection, who.tenant_id, begun.run_id)
        assert run is not None
        if begun.dispatch is not None:
            services.publisher.job(begun.dispatch)
        return RunOut.of(run)

    made = await run_in_threadpool(work)
    response.headers["Location"] = f"/v1/runs/{made.id}"
    return made


def one_schedule(
    connection: Connection, tenant_id: int, name: str, *, to_change: bool = False
) -> Schedule:
    """Raises NotFound."""
    found = schedules.named(connection, tenant_id, name, to_change=to_change)
    if found is None:
        raise no_schedule()
    return found


def no_schedule() -> NotFound:
    return NotFound("there is no schedule of this name", code="schedule_not_found")


def _create(services: Services, tenant_id: int, corpus: str, values: dict[str, Any]) -> ScheduleOut:
    with services.database.begin() as connection:
        now = schedules.clock(connection)
        values["next_at"] = next_tick(values["cron"], values["time_zone"], now)
        found = corpora.held(connection, tenant_id, corpus)
        if found is None:
            raise no_corpus()
        _check_scorer(connection, values["scorer"], values["blend"])
        made = schedules.create(connection, tenant_id, values | {"corpus_id": found.id})
        if made is None:
            detail = "there is a schedule of this name already"
            raise Conflict(detail, code="schedule_exists", schedule=values["name"])
        return ScheduleOut.of(one_schedule(connection, tenant_id, values["name"]))


def _change(
    services: Services,
    tenant_id: int,
    name: str,
    values: Callable[[Schedule, datetime], dict[str, Any]],
) -> ScheduleOut:
    """Lock the schedule, set the columns that `values` makes of it and of the time, and show it."""
    with services.database.begin() as connection:
        one = one_schedule(connection, tenant_id, name, to_change=True)
        if columns := values(one, schedules.clock(connection)):
            if {"scorer", "blend"} & columns.keys():
                whole = {"scorer": one.scorer, "blend": one.blend} | columns
                _check_scorer(connection, whole["scorer"], whole["blend"])
            schedules.change(connection, tenant_id, one.id, columns)
        return ScheduleOut.of(one_schedule(connection, tenant_id, name))


def _check_scorer(connection: Connection, name: str | None, blend: float) -> None:
    """Raises InvalidField for a name that no worker has registered: each night would fail."""
    if nightly.scorer_of(connection, name, blend) is None and name is not None:
        detail = "no scorer of this name is registered"
        raise InvalidField("scorer", detail, code="unknown_scorer")
