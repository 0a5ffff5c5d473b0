"""The queries of a job: what a retrieval slice has to embed and search."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from repick import filters
from repick.errors import NotFound
from repick.jobs import Slice
from repick.store import spaces, stages, unembedded
from repick.store.spaces import Plan, Space


@dataclass(frozen=True, slots=True)
class OpenQuery:
    query_no: int
    content_id: int


@dataclass(frozen=True, slots=True)
class Retrieval:
    """A retrieval slice's work: which queries still have no candidates, where, and how many.

    `standing` queries keep their vectors from run to run.
    """

    standing: bool
    space: Space
    k: int
    plan: Plan
    queries: tuple[OpenQuery, ...]


def retrieval(connection: Connection, held: Slice) -> Retrieval:
    """What is left of a held retrieval slice. Raises NotFound when its corpus was deleted."""
    job = connection.execute(
        text("SELECT k, space_id, filter, kind = 'nightly' AS standing FROM job WHERE id = :job"),
        {"job": held.job_id},
    ).one()
    space = spaces.by_id(connection, job.space_id)
    if space is None:
        raise NotFound("the corpus was deleted", code="corpus_deleted", job_id=held.job_id)
    rows = connection.execute(
        text(
            "SELECT q.query_no, q.content_id FROM job_query q WHERE q.job_id = :job"
            " AND q.query_no BETWEEN :first AND :last AND q.error IS NULL AND NOT EXISTS"
            " (SELECT FROM candidate c WHERE c.job_id = q.job_id AND c.query_no = q.query_no)"
            " ORDER BY q.query_no"
        ),
        {"job": held.job_id, "first": held.first, "last": held.last},
    )
    queries = tuple(OpenQuery(row.query_no, row.content_id) for row in rows)
    wanted = filters.parse(job.filter) if job.filter is not None else None
    plan = spaces.plan(connection, space, wanted)
    return Retrieval(job.standing, space, job.k, plan, queries)


def search_into(
    connection: Connection, held: Slice, task: Retrieval, query_no: int, vector: list[float]
) -> None:
    """Search the space with one query's vector; store its candidates and how they were found."""
    found = spaces.search(connection, task.space, vector, task.k, planned=task.plan)
    stages.propose(connection, held, query_no, found)
    connection.execute(
        text(
            "UPDATE job_query SET search = :search, matching = :matching"
            " WHERE job_id = :job AND query_no = :query"
        ),
        {
            "search": task.plan.search,
            "matching": task.plan.matching,
            "job": held.job_id,
            "query": query_no,
        },
    )


def warn_of_pending(connection: Connection, held: Slice, space: Space) -> None:
    """Say on the job how many items could not be found because they wait for their vectors."""
    if pending := unembedded.pending(connection, space.id):
        stages.warn(connection, held.job_id, "items_pending", items=pending)
