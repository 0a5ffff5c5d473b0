"""Jobs over documents that the caller sends along: no corpus, no space, no coarse stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from repick.store import jobs, stages
from repick.store.jobs import NewJob
from repick.store.slices import Dispatch


@dataclass(frozen=True, slots=True)
class Document:
    """A candidate under the caller's own id: a stored content, or why it is none."""

    external_id: str
    content_id: int | None
    score: float | None = None
    error_code: str | None = None
    retryable: bool = False


def submit(
    connection: Connection, new: NewJob, documents: Sequence[Document], slice_pairs: int
) -> Dispatch:
    """Insert a job whose queries all have these candidates, with its first stage: scoring.

    It stays `queued` until a worker claims something of it. Gives what to publish after commit.
    """
    jobs.insert_job(connection, new, slices_left=0)
    # The caller's order stands for the coarse rank, and settles ties as an item's id does.
    connection.execute(
        text(
            "INSERT INTO candidate (job_id, query_no, coarse_rank, tenant_id, item_id,"
            " external_id, content_id, coarse_score, error_code, retryable)"
            " SELECT q.job_id, q.query_no, d.rank, q.tenant_id, d.rank, d.external_id,"
            " d.content_id, d.score, d.error_code, d.retryable FROM job_query q"
            " CROSS JOIN unnest(CAST(:external_ids AS text[]), CAST(:content_ids AS bigint[]),"
            " CAST(:scores AS double precision[]), CAST(:errors AS text[]),"
            " CAST(:retryable AS boolean[])) WITH ORDINALITY"
            " AS d (external_id, content_id, score, error_code, retryable, rank)"
            " WHERE q.job_id = :job"
        ),
        {
            "external_ids": [one.external_id for one in documents],
            "content_ids": [one.content_id for one in documents],
            "scores": [one.score for one in documents],
            "errors": [one.error_code for one in documents],
            "retryable": [one.retryable for one in documents],
            "job": new.id,
        },
    )
    return stages.open_scoring(connection, new.id, new.tenant_id, slice_pairs)
