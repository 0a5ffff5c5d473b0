"""A job's or run's rankings as a file."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from api import openapi
from api.auth import Reader
from api.job_reads import one_job
from api.long_reads import streamed
from api.open_answers import Stream
from api.services import Services, services_of
from repick import exports
from repick.exports import MEDIA_TYPES, Format
from repick.store.exports import batches

router = APIRouter(prefix="/v1", tags=["jobs"])

Serviced = Annotated[Services, Depends(services_of)]
Wanted = Annotated[Format, Query(alias="format", description="Of the file.")]


@router.get("/jobs/{job}/export", response_class=Response, responses=openapi.EXPORT)
def export_job(
    request: Request, who: Reader, services: Serviced, job: UUID, form: Wanted = Format.JSONL
) -> Stream:
    """Every ranking that the job has, a row a hit, sent as it is read."""
    view = one_job(services, who.tenant_id, job)
    rows = batches(services.database, who.tenant_id, job, view.top_n)
    pieces = exports.written(form, rows, f"repick-{job}")
    headers = {"Content-Disposition": f'attachment; filename="{job}.{form}"'}
    return streamed(request, services, who.tenant_id, pieces, MEDIA_TYPES[form], headers)


@router.get(
    "/runs/{run}/export",
    response_class=Response,
    responses=openapi.EXPORT,
    tags=["schedules"],
)
def export_run(
    request: Request, who: Reader, services: Serviced, run: UUID, form: Wanted = Format.JSONL
) -> Stream:
    """As the export of the run's job: a run's queries have the standing queries' ids."""
    return export_job(request, who, services, run, form)
