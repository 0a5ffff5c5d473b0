"""A job and its rankings as its owner reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from api.job_views import RankingOut, job_path
from api.pages import next_link
from api.services import Services
from repick.calibration import Map
from repick.errors import NotFound
from repick.jobs import JobState
from repick.store import calibrations, jobs, rankings
from repick.store.database import Connection
from repick.store.jobs import JobView
from repick.store.rankings import QueryError

PAGE_QUERIES, PAGE_HITS = 100, 1000
"""What a page holds at most: a hit is 250 bytes, and 5 µs in which other requests wait."""


@dataclass(frozen=True, slots=True)
class Found:
    """A job with its first rankings, and the link to the others."""

    view: JobView
    rankings: Sequence[RankingOut] = ()
    errors: Sequence[QueryError] = ()
    next: str | None = None


def found(services: Services, tenant_id: int, job: UUID | JobView) -> Found:
    """The job of an id, or one that was read already, with what it has; one connection for all.

    Of a queued one nothing is read: nobody has begun. Raises NotFound.
    """
    if isinstance(job, JobView) and job.state is JobState.QUEUED:
        return Found(job)
    with services.database.read() as connection:
        view = _view(connection, tenant_id, job) if isinstance(job, UUID) else job
        if view.state is JobState.QUEUED:
            return Found(view)
        page, link = _page(services, connection, tenant_id, view, after=-1)
        return Found(view, page, rankings.query_errors(connection, tenant_id, view.id), link)


def one_job(services: Services, tenant_id: int, job_id: UUID) -> JobView:
    """Raises NotFound."""
    with services.database.read() as connection:
        return _view(connection, tenant_id, job_id)


def _view(connection: Connection, tenant_id: int, job_id: UUID) -> JobView:
    view = jobs.view(connection, tenant_id, job_id)
    if view is None:
        raise NotFound("there is no job of this id", code="job_not_found")
    return view


def ranking_page(
    services: Services, tenant_id: int, view: JobView, after: int
) -> tuple[list[RankingOut], str | None]:
    """Rankings past query number `after`, and the link to those past them."""
    with services.database.read() as connection:
        return _page(services, connection, tenant_id, view, after)


def _page(
    services: Services, connection: Connection, tenant_id: int, view: JobView, after: int
) -> tuple[list[RankingOut], str | None]:
    limit = page_size(view.top_n)
    page = rankings.read(connection, tenant_id, view.id, after, limit + 1)
    if not page:
        return [], None
    calibration = calibrations.latest(connection, tenant_id, view.scorer_fingerprint)
    shown = [RankingOut.of(one, calibration.map if calibration else None) for one in page[:limit]]
    if len(page) <= limit:
        return shown, None
    last = services.cursors.write(f"rankings.{view.id}", shown[-1].query)
    return shown, next_link(f"{job_path(view.id)}/rankings", cursor=last)


def every_ranking(
    services: Services, tenant_id: int, view: JobView, after: int
) -> Iterator[RankingOut]:
    """Every ranking past query number `after`, read page by page as they are sent.

    Raises NotFound where the job was deleted meanwhile: the answer breaks off.
    """
    limit = page_size(view.top_n)
    calibration = calibration_of(services, tenant_id, view.scorer_fingerprint)
    while True:
        with services.database.read() as connection:
            page = rankings.read(connection, tenant_id, view.id, after, limit)
            if len(page) < limit:
                jobs.require(connection, tenant_id, view.id)
        yield from (RankingOut.of(one, calibration) for one in page)
        if len(page) < limit:
            return
        after = page[-1].query_no


def calibration_of(services: Services, tenant_id: int, fingerprint: str) -> Map | None:
    """The map that holds for the scorer of this fingerprint."""
    with services.database.read() as connection:
        found = calibrations.latest(connection, tenant_id, fingerprint)
    return found.map if found else None


def page_size(top_n: int) -> int:
    """How many rankings of `top_n` hits a page holds."""
    return max(1, min(PAGE_QUERIES, PAGE_HITS // top_n))
