"""A job's rankings as rows to export, read page by page."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from repick.exports import Row
from repick.store import jobs, rankings, runs
from repick.store.database import Database
from repick.store.rankings import Ranking

PAGE_HITS = 20_000


def batches(database: Database, tenant_id: int, job_id: UUID, top_n: int) -> Iterator[list[Row]]:
    """Rows by query number and rank, about PAGE_HITS at once.

    Raises Unavailable, and NotFound where the job was deleted meanwhile: the file lacks its end.
    """
    with database.read() as connection:
        names = runs.query_names(connection, tenant_id, job_id)
    limit, past = max(1, PAGE_HITS // top_n), -1
    while True:
        with database.read() as connection:
            page = rankings.read(connection, tenant_id, job_id, past, limit)
            if not page:
                jobs.require(connection, tenant_id, job_id)
                return
        past = page[-1].query_no
        yield [row for one in page for row in _rows(one, names.get(one.query_no))]


def _rows(one: Ranking, name: str | None) -> Iterator[Row]:
    query = str(one.query_no) if name is None else name
    for hit in one.hits:
        yield Row(
            query_no=one.query_no,
            query=query,
            rank=hit.rank,
            id=hit.external_id,
            score=hit.score,
            margin=hit.margin,
            label_mass=hit.label_mass,
            entropy=hit.entropy,
            coarse_rank=hit.coarse_rank,
            coarse_score=hit.coarse_score,
            enhanced_at=hit.enhanced_at,
            cut_tokens=hit.cut_tokens,
        )
