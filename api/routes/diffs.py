"""Two runs beside each other: a run is a job, and any two ended jobs are compared alike."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from api import ndjson, openapi
from api.auth import Reader
from api.diff_views import DiffOut, QueryDiffOut, SummaryOut
from api.job_reads import one_job
from api.long_reads import in_turn, streamed
from api.pages import Cursor, next_link
from api.services import Services, services_of
from repick.errors import Conflict, NotFound
from repick.store import comparing, runs

router = APIRouter(prefix="/v1/runs", tags=["schedules"])

Serviced = Annotated[Services, Depends(services_of)]
PAGE_QUERIES = 100


@router.get("/{run}/diff", response_model=DiffOut, responses=openapi.DIFF)
async def diff_previous(
    request: Request, who: Reader, services: Serviced, run: UUID, cursor: Cursor = None
) -> Response:
    """A run against the newest published one before it, query by query."""

    def work() -> Response:
        before = _previous(services, who.tenant_id, run)
        return _diff(request, services, who.tenant_id, before, run, cursor)

    return await in_turn(services, work)


@router.get("/{run}/diff/summary", response_model=SummaryOut, responses=openapi.errors(404, 409))
async def summary_previous(who: Reader, services: Serviced, run: UUID) -> SummaryOut:
    """A run against the newest published one before it, over all queries."""

    def work() -> SummaryOut:
        before = _previous(services, who.tenant_id, run)
        return _summary(services, who.tenant_id, before, run)

    return await in_turn(services, work)


@router.get("/{before}/diff/{after}", response_model=DiffOut, responses=openapi.DIFF)
async def diff_two(
    request: Request,
    who: Reader,
    services: Serviced,
    before: UUID,
    after: UUID,
    cursor: Cursor = None,
) -> Response:
    """What changed from one run to another: in pages, or as NDJSON all of it.

    Queries are matched by the standing query's id; those of other jobs by their content.
    """
    work = partial(_diff, request, services, who.tenant_id, before, after, cursor)
    return await in_turn(services, work)


@router.get(
    "/{before}/diff/{after}/summary", response_model=SummaryOut, responses=openapi.errors(404, 409)
)
async def summary_two(who: Reader, services: Serviced, before: UUID, after: UUID) -> SummaryOut:
    """The figures over all queries, and the documents that moved most. Made once, then kept."""
    return await in_turn(services, partial(_summary, services, who.tenant_id, before, after))


def _previous(services: Services, tenant_id: int, run_id: UUID) -> UUID:
    """Raises NotFound: there is no such run, or none before it."""
    with services.database.read() as connection:
        run = runs.by_id(connection, tenant_id, run_id)
        if run is None:
            raise NotFound("there is no run of this id", code="run_not_found")
        before = runs.previous(connection, run)
    if before is None:
        raise NotFound("no run was published before this one", code="no_previous_run")
    return before.run_id


def _ended(services: Services, tenant_id: int, *job_ids: UUID) -> None:
    """Raises NotFound, and Conflict for a job that may still get rankings."""
    for job_id in job_ids:
        if not one_job(services, tenant_id, job_id).state.final:
            raise Conflict("the run has not ended", code="run_not_ended", job_id=job_id)


def _diff(
    request: Request,
    services: Services,
    tenant_id: int,
    before: UUID,
    after: UUID,
    cursor: str | None,
) -> Response:
    _ended(services, tenant_id, before, after)
    purpose = f"diff.{tenant_id}.{before}.{after}"
    past = -1 if cursor is None else int(services.cursors.read(purpose, cursor))
    if ndjson.wanted(request):
        found = _every(services, tenant_id, before, after, past)
        return streamed(request, services, tenant_id, ndjson.lines(found), ndjson.MEDIA_TYPE)
    with services.database.read() as connection:
        page = comparing.page(connection, tenant_id, before, after, past, PAGE_QUERIES + 1)
    link = None
    if len(page) > PAGE_QUERIES:
        page = page[:PAGE_QUERIES]
        mark = services.cursors.write(purpose, page[-1].query_no)
        link = next_link(f"/v1/runs/{before}/diff/{after}", cursor=mark)
    items = [QueryDiffOut.of(one) for one in page]
    shown = DiffOut(before=before, after=after, items=items, next=link)
    return Response(shown.model_dump_json(), media_type="application/json")


def _every(
    services: Services, tenant_id: int, before: UUID, after: UUID, past: int
) -> Iterator[QueryDiffOut]:
    found = comparing.every(services.database, tenant_id, before, after, past)
    return (QueryDiffOut.of(one) for one in found)


def _summary(services: Services, tenant_id: int, before: UUID, after: UUID) -> SummaryOut:
    _ended(services, tenant_id, before, after)
    with services.database.begin() as connection:
        found = comparing.summary(connection, tenant_id, before, after)
    return SummaryOut.of(before, after, found)
