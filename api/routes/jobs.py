"""Jobs: submitted, polled, listed, cancelled."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api import events, job_reads, ndjson, openapi, strict_json, submission
from api.auth import AskingReader, AskingSubmitter, Reader, Submitter, look_again
from api.job_checks import Submission, check
from api.job_reads import one_job
from api.job_views import JobOut, JobsOut, job_out, job_path, summary
from api.pages import Cursor, Limit, next_link
from api.payload import content_type, form_of, is_small, parse
from api.schemas import JOB_EXAMPLES, JobRequest
from api.services import Services, services_of
from api.waiting import seconds_to_wait, until_final
from repick import telemetry
from repick.errors import Conflict, InvalidField
from repick.jobs import JobState
from repick.settings import Settings
from repick.store import jobs
from repick.store.jobs import JobView, Wanted

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

Serviced = Annotated[Services, Depends(services_of)]
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="The same key and body give the same job."),
]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=200)]
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@router.post(
    "",
    status_code=202,
    response_model=JobOut,
    responses={200: {"model": JobOut}, **openapi.errors(400, 404, 409, 413, 415)},
    openapi_extra=openapi.job_body(JobRequest, JOB_EXAMPLES),
)
async def submit_job(
    request: Request,
    response: Response,
    asking: AskingSubmitter,
    services: Serviced,
    key: Key = None,
) -> JobOut:
    """Submit a job: 202 with its address, or with `Prefer: wait=N` 200 once it has ended."""
    if not is_small(request):  # a stranger's large body is not read
        await run_in_threadpool(asking.principal)
    body, trace = await request.body(), telemetry.current()

    def submitted(checked: Submission) -> submission.Submitted:
        return submission.submit(services, asking.principal().tenant_id, checked, trace)

    def work() -> Submission | submission.Submitted:
        asking.principal()
        wanted, streamed = _job(request, body, services.settings)
        checked = check(wanted, _sound(key), services.settings, streamed=streamed)
        return checked if checked.has_images else submitted(checked)

    if is_small(request):
        done = await services.turns.submit(work)
    else:
        done = await services.uploads.run(asking.principal().tenant_id, work)
    tenant_id = asking.principal().tenant_id
    if isinstance(done, Submission):  # its images may take long: that is no turn of the quick ones
        done = await services.uploads.run(tenant_id, partial(submitted, done))
    view = await _awaited(request, response, services, tenant_id, done.view)
    response.status_code = 200 if view.state.final and seconds_to_wait(request) else 202
    response.headers["Location"] = job_path(view.id)
    if done.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    if view.state is JobState.QUEUED:  # nothing to read, so no thread to read it
        return _full(response, services, tenant_id, view)
    return await run_in_threadpool(_full, response, services, tenant_id, view)


@router.get("", response_model=JobsOut, responses=openapi.errors(400))
def list_jobs(
    who: Reader,
    services: Serviced,
    state: Annotated[JobState | None, Query()] = None,
    corpus: Annotated[
        str | None,
        Query(
            max_length=200,
            pattern=r"^[^\x00]*$",
            description="Jobs over the corpus of this name.",
        ),
    ] = None,
    metadata: Annotated[
        str | None,
        Query(
            max_length=2048,
            description="A JSON object; jobs whose metadata contain it.",
            examples=['{"run": "nightly"}'],
        ),
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> JobsOut:
    """Jobs, the newest first, without their rankings."""
    wanted = Wanted(state, corpus, _metadata(metadata))
    purpose = f"jobs.{who.tenant_id}"
    before = UUID(services.cursors.read(purpose, cursor)) if cursor is not None else None
    with services.database.begin() as connection:
        page = jobs.listed(connection, who.tenant_id, before, limit + 1, wanted)
    link = None
    if len(page) > limit:
        page = page[:limit]
        last = services.cursors.write(purpose, str(page[-1].id))
        link = next_link(
            "/v1/jobs", state=state, corpus=corpus, metadata=metadata, limit=limit, cursor=last
        )
    return JobsOut(items=[summary(one) for one in page], next=link)


@router.get("/{job_id}", response_model=JobOut, responses=openapi.errors(404))
async def show_job(
    request: Request, response: Response, asking: AskingReader, services: Serviced, job_id: UUID
) -> JobOut:
    """The job's state and progress, and the rankings that it has so far.

    Up to 100 queries (or 1,000 hits) at once; `next` leads to the others. `Prefer: wait=N` waits
    for the job's end.
    """

    def as_it_is() -> JobOut:
        tenant_id = asking.principal().tenant_id
        return _full(response, services, tenant_id, job_id)

    if seconds_to_wait(request) == 0:  # most polls: one thread for all of it
        return await services.turns.poll(as_it_is)
    await run_in_threadpool(asking.principal)
    tenant_id = asking.principal().tenant_id
    view = await run_in_threadpool(one_job, services, tenant_id, job_id)
    view = await _awaited(request, response, services, tenant_id, view)
    return await run_in_threadpool(_full, response, services, tenant_id, view)


@router.get("/{job_id}/events", response_class=Response, responses=openapi.EVENTS)
async def job_events(
    request: Request,
    who: Reader,
    services: Serviced,
    job_id: UUID,
    last_id: LastEventId = None,
) -> Response:
    """Server-sent events: `progress` whenever the job's state or progress changes, and its `end`.

    `Last-Event-ID` leaves out what the client was told; 204 where that was the end.
    """
    view = await run_in_threadpool(one_job, services, who.tenant_id, job_id)
    return await events.answer(request, services, who.tenant_id, view, last_id)


@router.post("/{job_id}/cancel", response_model=JobOut, responses=openapi.errors(404, 409))
def cancel_job(response: Response, who: Submitter, services: Serviced, job_id: UUID) -> JobOut:
    """End a job that has not ended; workers see it within one batch."""
    with services.database.begin() as connection:
        cancelled = jobs.cancel(connection, who.tenant_id, job_id)
    view = one_job(services, who.tenant_id, job_id)
    if not cancelled:
        raise Conflict("the job has ended already", code="job_final", job=job_id, state=view.state)
    return _full(response, services, who.tenant_id, view)


def _job(request: Request, body: bytes, settings: Settings) -> tuple[JobRequest, bool]:
    """The job of a body, and whether its queries came a line each."""
    forms = {
        "application/json": partial(parse, model=JobRequest),
        ndjson.MEDIA_TYPE: partial(ndjson.job, most=settings.max_streamed_queries),
    }
    streamed = content_type(request).get_content_type() == ndjson.MEDIA_TYPE
    return form_of(request, forms)(body), streamed


def _sound(key: str | None) -> str | None:
    if key is not None and not _KEY.fullmatch(key):
        detail = "1 to 255 printable ASCII characters without blanks"
        raise InvalidField("Idempotency-Key", detail, code="invalid_idempotency_key")
    return key


def _metadata(given: str | None) -> dict[str, Any] | None:
    if given is None:
        return None
    value = strict_json.parse(given.encode())
    if not isinstance(value, dict):
        raise InvalidField("metadata", "a JSON object is wanted here")
    return value


async def _awaited(
    request: Request, response: Response, services: Services, tenant_id: int, view: JobView
) -> JobView:
    """The job when the wait is over; at once where too many wait, as a preference is no demand.

    Raises HttpError 401 where the key has ended meanwhile.
    """
    seconds = seconds_to_wait(request)
    if seconds == 0 or not services.open_answers.room(tenant_id):
        return view
    response.headers["Preference-Applied"] = f"wait={seconds}"
    with services.open_answers.held(tenant_id):
        ended = await until_final(request, services, tenant_id, view.id, seconds)
    await run_in_threadpool(look_again, request, services)
    return ended or view


def _full(response: Response, services: Services, tenant_id: int, job: UUID | JobView) -> JobOut:
    found = job_reads.found(services, tenant_id, job)
    if not found.view.state.final:
        response.headers["Retry-After"] = "1"
    return job_out(found.view, found.rankings, found.errors, found.next)
