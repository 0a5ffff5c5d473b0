"""A job's life as server-sent events: its state and progress whenever they change, until its end.

An event's id names what it told, so a client that comes back with `Last-Event-ID` is told only
what is new to it, and one that knows the end is told (by 204) not to come back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from api.auth import bearer
from api.job_views import JobSummary, summary
from api.open_answers import Stream
from api.services import Services
from repick.store import jobs, keys, rankings
from repick.store.jobs import JobView

MEDIA_TYPE = "text/event-stream"
RETRY_MS = 2000
PING_S = 15.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


class JobEvent(JobSummary):
    """A job's summary and how many of its queries have their ranking."""

    ranked: int


@dataclass(frozen=True, slots=True)
class _Told:
    view: JobView
    ranked: int

    @property
    def id(self) -> str:
        view = self.view
        return f"{view.state}-{view.pairs_done}-{view.pairs_failed}-{self.ranked}"

    @property
    def text(self) -> str:
        name = "end" if self.view.state.final else "progress"
        event = JobEvent(**dict(summary(self.view)), ranked=self.ranked)
        return f"id: {self.id}\nevent: {name}\ndata: {event.model_dump_json()}\n\n"


async def answer(
    request: Request, services: Services, tenant_id: int, view: JobView, last_id: str | None
) -> Response:
    """The stream of a job's events; 204 for a client that was told of its end already."""
    first = await run_in_threadpool(_look, request, services, tenant_id, view.id)
    if first is None or (first.view.state.final and first.id == last_id):
        return Response(status_code=204)
    content = _stream(request, services, tenant_id, view.id, last_id)
    headers = {"X-Accel-Buffering": "no"}
    return Stream(services.open_answers, tenant_id, content, MEDIA_TYPE, headers)


async def _stream(
    request: Request, services: Services, tenant_id: int, job_id: UUID, last_id: str | None
) -> AsyncIterator[str]:
    yield f"retry: {RETRY_MS}\n\n"
    sent, pause = time.monotonic(), _FIRST_PAUSE_S
    while not request.app.state.stopping():
        now = await run_in_threadpool(_look, request, services, tenant_id, job_id)
        if now is None:
            return
        if now.id != last_id:
            last_id, sent, pause = now.id, time.monotonic(), _FIRST_PAUSE_S
            yield now.text
        if now.view.state.final:
            return
        if time.monotonic() - sent > PING_S:
            sent = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)


def _look(request: Request, services: Services, tenant_id: int, job_id: UUID) -> _Told | None:
    """The job as it is; None where it is gone, or the key of the request has ended."""
    with services.database.read() as connection:
        if keys.authenticate(connection, bearer(request)) is None:
            return None
        view = jobs.view(connection, tenant_id, job_id)
        return _Told(view, rankings.count(connection, tenant_id, job_id)) if view else None
