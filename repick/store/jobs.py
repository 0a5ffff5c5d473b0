"""Jobs: submitted in one commit, read by polling, cancelled by a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    Interval,
    Text,
    bindparam,
    false,
    func,
    insert,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects import postgresql

from repick.errors import Conflict, NotFound
from repick.jobs import JobKind, JobState, SliceState, Stage
from repick.specs import LengthPolicy
from repick.store import driver
from repick.store.slices import Dispatch
from repick.store.waiting import REPUBLISH_AFTER
from repick.tables import encoder, job, job_query, scorer
from repick.tables import slice as slices


class AlreadyStored(Conflict):
    """An earlier transaction has committed this very job; nothing was changed."""

    code = "already_stored"


@dataclass(frozen=True, slots=True)
class NewJob:
    """A validated job: what it ranks is resolved to ids, its queries to stored contents.

    Without a corpus it has no space and no encoder either: `repick.store.documents`.
    """

    id: UUID
    tenant_id: int
    kind: JobKind
    corpus_id: int | None
    corpus_name: str | None
    space_id: int | None
    encoder_id: int | None
    encoder_queue: str | None
    scorer_id: int
    k: int
    top_n: int
    query_content_ids: Sequence[int]
    metadata: Mapping[str, Any]
    queries_per_slice: int
    filter: Mapping[str, Any] | None = None
    blend: float = 0.0
    min_score: float | None = None
    time_limit: timedelta | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as its owner sees it."""

    id: UUID
    kind: JobKind
    state: JobState
    corpus_name: str | None
    encoder: str | None
    encoder_fingerprint: str | None
    scorer: str
    scorer_fingerprint: str
    untrained: bool
    k: int
    top_n: int
    query_count: int
    pairs_total: int
    pairs_done: int
    pairs_reused: int
    pairs_failed: int
    filter: Mapping[str, Any] | None
    blend: float
    min_score: float | None
    length_policy: LengthPolicy
    deadline: datetime | None
    metadata: Mapping[str, Any]
    warnings: Sequence[Mapping[str, Any]]
    error: Mapping[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs are listed: of a state, over a corpus, with metadata that contain these."""

    state: JobState | None = None
    corpus: str | None = None
    metadata: Mapping[str, Any] | None = None


ANY_JOB = Wanted()


# Built once: on the paths of submit and poll, building a statement costs more than running it.
_INSERT_JOB = (
    postgresql.insert(job)
    .values(deadline=func.now() + bindparam("time_limit", type_=Interval))
    .on_conflict_do_nothing()
    .execution_options(preserve_rowcount=True)
)
_INSERT_QUERIES = insert(job_query)
_INSERT_SLICES = insert(slices).values(
    publish_at=text("now() + :after").bindparams(after=REPUBLISH_AFTER)
)
_VIEWS = (
    select(
        *(column for column in job.c if column.name in JobView.__dataclass_fields__),
        encoder.c.name.label("encoder"),
        encoder.c.fingerprint.label("encoder_fingerprint"),
        scorer.c.name.label("scorer"),
        scorer.c.fingerprint.label("scorer_fingerprint"),
        literal_column("scorer.specification ->> 'length_policy'", Text).label("length_policy"),
        (scorer.c.untrained | func.coalesce(encoder.c.untrained, false())).label("untrained"),
    )
    .join(scorer, scorer.c.id == job.c.scorer_id)
    .outerjoin(encoder, encoder.c.id == job.c.encoder_id)
    .where(job.c.tenant_id == bindparam("tenant"))
)
_VIEW = driver.text_of(_VIEWS.where(job.c.id == bindparam("job")))


def submit(connection: Connection, new: NewJob) -> Dispatch:
    """Insert the job, its queries and its retrieval slices; give what to publish after commit."""
    assert new.encoder_queue is not None
    ranges = chunks(len(new.query_content_ids), new.queries_per_slice)
    insert_job(connection, new, slices_left=len(ranges))
    queue = new.kind.queue(new.encoder_queue)
    insert_slices(connection, new.id, new.tenant_id, Stage.RETRIEVE, queue, ranges)
    return Dispatch(new.id, Stage.RETRIEVE, queue, len(ranges))


def insert_job(connection: Connection, new: NewJob, slices_left: int) -> None:
    """Insert a queued job and its queries; its slices must follow in the same transaction.

    Waits for a transaction that inserts the same id: raises AlreadyStored once that has committed.
    """
    inserted = connection.execute(
        _INSERT_JOB,
        {
            "id": new.id,
            "tenant_id": new.tenant_id,
            "kind": new.kind,
            "state": JobState.QUEUED,
            "corpus_id": new.corpus_id,
            "corpus_name": new.corpus_name,
            "space_id": new.space_id,
            "encoder_id": new.encoder_id,
            "scorer_id": new.scorer_id,
            "k": new.k,
            "top_n": new.top_n,
            "query_count": len(new.query_content_ids),
            "slices_left": slices_left,
            "filter": dict(new.filter) if new.filter is not None else None,
            "blend": new.blend,
            "min_score": new.min_score,
            "time_limit": new.time_limit,
            "metadata": dict(new.metadata),
            "trace": new.trace,
        },
    )
    if inserted.rowcount != 1:
        raise AlreadyStored("the job is stored already", job=new.id)
    if not new.query_content_ids:
        return  # of a nightly job, which copies the standing queries itself
    connection.execute(
        _INSERT_QUERIES,
        [
            {"job_id": new.id, "tenant_id": new.tenant_id, "query_no": no, "content_id": content}
            for no, content in enumerate(new.query_content_ids)
        ],
    )


def chunks(count: int, size: int) -> list[tuple[int, int]]:
    """Cut 0..count−1 into runs of at most `size`, as inclusive (first, last)."""
    return [(first, min(first + size, count) - 1) for first in range(0, count, size)]


def insert_slices(
    connection: Connection,
    job_id: UUID,
    tenant_id: int,
    stage: Stage,
    queue: str,
    ranges: Sequence[tuple[int, int]],
) -> None:
    rows = [
        {
            "job_id": job_id,
            "tenant_id": tenant_id,
            "stage": stage,
            "no": no,
            "first": first,
            "last": last,
            "queue": queue,
            "state": SliceState.WAITING,
        }
        for no, (first, last) in enumerate(ranges)
    ]
    connection.execute(_INSERT_SLICES, rows)


def view(connection: Connection, tenant_id: int, job_id: UUID) -> JobView | None:
    row = driver.first(connection, _VIEW, {"tenant": tenant_id, "job": job_id})
    return view_of(row) if row else None


def require(connection: Connection, tenant_id: int, *job_ids: UUID) -> None:
    """Raise NotFound for a job that was deleted.

    Asked after a read, since what is there then was there for all of it.
    """
    for job_id in job_ids:
        if view(connection, tenant_id, job_id) is None:
            raise NotFound("the job was deleted meanwhile", code="job_not_found", job=job_id)


def listed(
    connection: Connection,
    tenant_id: int,
    before: UUID | None,
    limit: int,
    wanted: Wanted = ANY_JOB,
) -> list[JobView]:
    """Up to `limit` of the tenant's jobs, the newest first, those older than `before`."""
    statement = _VIEWS.order_by(job.c.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(job.c.id < before)
    if wanted.state is not None:
        statement = statement.where(job.c.state == wanted.state)
    if wanted.corpus is not None:
        statement = statement.where(job.c.corpus_name == wanted.corpus)
    if wanted.metadata:
        statement = statement.where(job.c.metadata.contains(dict(wanted.metadata)))
    return [view_of(row) for row in connection.execute(statement, {"tenant": tenant_id})]


def cancel(connection: Connection, tenant_id: int, job_id: UUID) -> bool:
    """End a live job as cancelled; False where it has ended already (or is not the tenant's)."""
    statement = text(
        "UPDATE job SET state = 'cancelled', finished_at = now()"
        " WHERE id = :id AND tenant_id = :tenant AND finished_at IS NULL"
    )
    return connection.execute(statement, {"id": job_id, "tenant": tenant_id}).rowcount == 1


def view_of(row: Any) -> JobView:
    """A job out of a row of its columns and of its models' names."""
    facts = {name: getattr(row, name) for name in JobView.__dataclass_fields__}
    named = {
        "kind": JobKind(row.kind),
        "state": JobState(row.state),
        "length_policy": LengthPolicy(row.length_policy),
    }
    return JobView(**facts | named)
