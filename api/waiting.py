"""`Prefer: wait=N` (RFC 7240): the answer waits for the job's end, holding no thread meanwhile."""

from __future__ import annotations

import asyncio
import re
import time
from uuid import UUID

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.services import Services
from repick.store import jobs
from repick.store.jobs import JobView

MAX_WAIT_S = 60
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*(\d{1,9})\s*(?=$|[,;])", re.IGNORECASE)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.5


def seconds_to_wait(request: Request) -> int:
    """How long the client would wait, at most MAX_WAIT_S; 0 where it does not say so."""
    found = _WAIT.search(", ".join(request.headers.getlist("prefer")))
    return min(int(found[1]), MAX_WAIT_S) if found else 0


async def until_final(
    request: Request, services: Services, tenant_id: int, job_id: UUID, seconds: float
) -> JobView | None:
    """The job once it is final, or as it is when the time is over or the client or server goes."""
    deadline = time.monotonic() + seconds
    pause = _FIRST_PAUSE_S
    while True:
        view = await run_in_threadpool(_view, services, tenant_id, job_id)
        left = deadline - time.monotonic()
        if view is None or view.state.final or left <= 0:
            return view
        if request.app.state.stopping() or await request.is_disconnected():
            return view
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.3, _LONGEST_PAUSE_S)


def _view(services: Services, tenant_id: int, job_id: UUID) -> JobView | None:
    with services.database.read() as connection:
        return jobs.view(connection, tenant_id, job_id)
