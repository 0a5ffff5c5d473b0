"""A job and its rankings as its owner reads them."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from api.job_views import RankingOut, job_path
from api.pages import next_link
from api.services import Services
from repick.calibration import Map
from repick.errors import NotFound
from repick.store import calibrations, jobs, rankings
from repick.store.jobs import JobView

PAGE_QUERIES, PAGE_HITS = 100, 10_000


def one_job(services: Services, tenant_id: int, job_id: UUID) -> JobView:
    """Raises NotFound."""
    with services.database.read() as connection:
        view = jobs.view(connection, tenant_id, job_id)
    if view is None:
        raise NotFound("there is no job of this id", code="job_not_found")
    return view


def ranking_page(
    services: Services, tenant_id: int, view: JobView, after: int
) -> tuple[list[RankingOut], str | None]:
    """Rankings past query number `after`, and the link to those past them."""
    limit = _page_size(view)
    with services.database.read() as connection:
        page = rankings.read(connection, tenant_id, view.id, after, limit + 1)
    if not page:
        return [], None
    calibration = calibration_of(services, tenant_id, view.scorer_fingerprint)
    shown = [RankingOut.of(one, calibration) for one in page[:limit]]
    if len(page) <= limit:
        return shown, None
    last = services.cursors.write(f"rankings.{view.id}", shown[-1].query)
    return shown, next_link(f"{job_path(view.id)}/rankings", cursor=last)


def every_ranking(
    services: Services, tenant_id: int, view: JobView, after: int
) -> Iterator[RankingOut]:
    """Every ranking past query number `after`, read page by page as they are sent."""
    limit = _page_size(view)
    calibration = calibration_of(services, tenant_id, view.scorer_fingerprint)
    while True:
        with services.database.read() as connection:
            page = rankings.read(connection, tenant_id, view.id, after, limit)
        yield from (RankingOut.of(one, calibration) for one in page)
        if len(page) < limit:
            return
        after = page[-1].query_no


def calibration_of(services: Services, tenant_id: int, fingerprint: str) -> Map | None:
    """The map that holds for the scorer of this fingerprint."""
    with services.database.read() as connection:
        found = calibrations.latest(connection, tenant_id, fingerprint)
    return found.map if found else None


def _page_size(view: JobView) -> int:
    return max(1, min(PAGE_QUERIES, PAGE_HITS // view.top_n))
