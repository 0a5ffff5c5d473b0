"""The rankings of a job: in pages, as a stream, and one score in full."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response

from api import ndjson, openapi
from api.audit_views import AuditOut, audit_out
from api.auth import Reader
from api.job_reads import calibration_of, every_ranking, one_job, ranking_page
from api.job_views import RankingsOut
from api.long_reads import streamed
from api.pages import Cursor
from api.schemas import printable
from api.services import Services, services_of
from repick.errors import NotFound
from repick.store import audits

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

Serviced = Annotated[Services, Depends(services_of)]
MAX_QUERY_NO = 2**31 - 1


@router.get("/{job_id}/rankings", response_model=RankingsOut, responses=openapi.RANKINGS)
def list_rankings(
    request: Request, who: Reader, services: Serviced, job_id: UUID, cursor: Cursor = None
) -> RankingsOut | Response:
    """The rankings that the job has so far, by query: in pages, or as NDJSON all of them."""
    view = one_job(services, who.tenant_id, job_id)
    after = -1
    if cursor is not None:
        after = int(services.cursors.read(f"rankings.{job_id}", cursor))
    if ndjson.wanted(request):
        found = every_ranking(services, who.tenant_id, view, after)
        return streamed(request, services, who.tenant_id, ndjson.lines(found), ndjson.MEDIA_TYPE)
    page, link = ranking_page(services, who.tenant_id, view, after)
    return RankingsOut(items=page, next=link)


@router.get(
    "/{job_id}/rankings/{query}/{item:path}",
    response_model=AuditOut,
    responses=openapi.errors(404),
)
def show_score(
    who: Reader,
    services: Serviced,
    job_id: UUID,
    query: Annotated[int, Path(ge=0, le=MAX_QUERY_NO)],
    item: str,
) -> AuditOut:
    """How a hit came by its score: prompts, logits of the labels, the scorer in full, where."""
    one_job(services, who.tenant_id, job_id)
    with services.database.begin() as connection:
        known = printable(item)
        found = audits.find(connection, who.tenant_id, job_id, query, item) if known else None
    if found is None:
        raise NotFound("this query's ranking has no such hit", code="hit_not_found")
    calibration = calibration_of(services, who.tenant_id, found.scorer.fingerprint)
    return audit_out(job_id, query, found, calibration)
