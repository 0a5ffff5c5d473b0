"""The submit of a job over a corpus in one statement: one round trip, and one commit.

What takes a dozen statements elsewhere (hold the corpus, find its space and encoder, store the
queries' contents, insert job, queries and slices, read the job back) is one here, because submits
come by the hundred a second.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from repick.content import Content
from repick.errors import Unavailable
from repick.jobs import JobState, Stage
from repick.specs import LengthPolicy
from repick.store import driver
from repick.store.jobs import AlreadyStored, JobView, NewJob, chunks
from repick.store.slices import Dispatch
from repick.store.waiting import REPUBLISH_AFTER

TRIES = 5

# The key's share lock is what the job's foreign key takes too: nobody deletes the corpus meanwhile.
# A content that another transaction has just committed is in no snapshot of this statement: then
# `queries` lacks it, no job is inserted, and the next try sees it.
_SUBMIT = """
WITH held AS MATERIALIZED (
    SELECT id, name FROM corpus
    WHERE tenant_id = %(tenant)s AND name = %(corpus)s::text FOR KEY SHARE
), source AS MATERIALIZED (
    SELECT held.id AS corpus_id, held.name AS corpus_name, s.id AS space_id, s.encoder_id,
        e.name AS encoder, e.fingerprint, e.untrained, e.queue || %(suffix)s::text AS queue
    FROM held
    CROSS JOIN LATERAL (
        SELECT id, encoder_id FROM space
        WHERE tenant_id = %(tenant)s AND corpus_id = held.id AND state <> 'retired'
        ORDER BY state <> 'current', id LIMIT 1
    ) s
    JOIN encoder e ON e.id = s.encoder_id
), given AS MATERIALIZED (
    SELECT * FROM unnest(%(hashes)s::bytea[], %(texts)s::text[], %(media)s::bytea[],
            %(instructions)s::text[]) WITH ORDINALITY
        AS g (sha256, text, media_sha256, instruction, no)
), stored AS (
    INSERT INTO content (tenant_id, sha256, text, media_sha256, instruction)
    SELECT DISTINCT ON (sha256) %(tenant)s, sha256, text, media_sha256, instruction
    FROM given WHERE EXISTS (SELECT FROM source) ORDER BY sha256
    ON CONFLICT DO NOTHING RETURNING id, sha256
), known AS MATERIALIZED (
    SELECT id, sha256 FROM stored
    UNION ALL
    SELECT id, sha256 FROM (
        SELECT id, sha256 FROM content
        WHERE tenant_id = %(tenant)s AND sha256 = ANY(%(hashes)s::bytea[])
        ORDER BY sha256 FOR KEY SHARE
    ) locked
), queries AS MATERIALIZED (
    SELECT given.no - 1 AS query_no, known.id AS content_id
    FROM given JOIN known USING (sha256)
), new AS (
    INSERT INTO job (id, tenant_id, kind, state, corpus_id, corpus_name, space_id, encoder_id,
        scorer_id, k, top_n, query_count, slices_left, filter, blend, min_score, deadline,
        metadata, trace)
    SELECT %(id)s, %(tenant)s, %(kind)s::job_kind, 'queued', corpus_id, corpus_name, space_id,
        encoder_id, %(scorer)s, %(k)s, %(top_n)s, %(count)s, cardinality(%(firsts)s::int[]),
        %(filter)s::jsonb, %(blend)s, %(min_score)s::float8, now() + %(time_limit)s::interval,
        %(metadata)s::jsonb, %(trace)s::text
    FROM source WHERE (SELECT count(*) FROM queries) = %(count)s
    ON CONFLICT DO NOTHING
    RETURNING id, tenant_id, query_count, filter, metadata, deadline, created_at
), asked AS (
    INSERT INTO job_query (job_id, tenant_id, query_no, content_id)
    SELECT new.id, new.tenant_id, query_no, content_id FROM new CROSS JOIN queries
), cut AS (
    INSERT INTO slice (job_id, tenant_id, stage, no, first, last, queue, state, publish_at)
    SELECT new.id, new.tenant_id, 'retrieve', part.no - 1, part.first, part.last, source.queue,
        'waiting', now() + %(after)s
    FROM new CROSS JOIN source
    CROSS JOIN unnest(%(firsts)s::int[], %(lasts)s::int[]) WITH ORDINALITY
        AS part (first, last, no)
)
SELECT new.*, source.*, scorer.name AS scorer, scorer.fingerprint AS scorer_fingerprint,
    scorer.specification ->> 'length_policy' AS length_policy,
    scorer.untrained OR source.untrained AS any_untrained,
    (SELECT count(*) FROM queries) = %(count)s AS complete
FROM source JOIN scorer ON scorer.id = %(scorer)s LEFT JOIN new ON true
"""


def submit(
    connection: Connection, new: NewJob, queries: Sequence[Content]
) -> tuple[JobView, Dispatch] | None:
    """Insert a job over the corpus that `new.corpus_name` names, and give what to publish.

    None where the tenant has no such corpus; then nothing is stored. The rows of the queries'
    media must be there. Raises AlreadyStored where the job's id is taken (an earlier try that
    committed), Unavailable where others keep storing and deleting the contents.
    """
    ranges = chunks(len(queries), new.queries_per_slice)
    binds = _binds(new, queries, ranges)
    for _ in range(TRIES):
        row = driver.first(connection, _SUBMIT, binds)
        if row is None:
            return None
        if row.id is not None:
            return _view(new, row), Dispatch(new.id, Stage.RETRIEVE, row.queue, len(ranges))
        if row.complete:
            raise AlreadyStored("the job is stored already", job=new.id)
    raise Unavailable("the queries are being stored by others", part="postgres")


def _binds(
    new: NewJob, queries: Sequence[Content], ranges: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    return {
        "id": new.id,
        "tenant": new.tenant_id,
        "corpus": new.corpus_name,
        "kind": new.kind.value,
        "suffix": new.kind.queue(""),
        "scorer": new.scorer_id,
        "k": new.k,
        "top_n": new.top_n,
        "count": len(queries),
        "hashes": [one.sha256 for one in queries],
        "texts": [one.text for one in queries],
        "media": [one.media.sha256 if one.media else None for one in queries],
        "instructions": [one.instruction for one in queries],
        "firsts": [first for first, _ in ranges],
        "lasts": [last for _, last in ranges],
        "filter": None if new.filter is None else json.dumps(dict(new.filter)),
        "blend": new.blend,
        "min_score": new.min_score,
        "time_limit": new.time_limit,
        "metadata": json.dumps(dict(new.metadata)),
        "trace": new.trace,
        "after": REPUBLISH_AFTER,
    }


def _view(new: NewJob, row: Any) -> JobView:
    """The job as it was stored a moment ago: nobody has begun it."""
    return JobView(
        id=new.id,
        kind=new.kind,
        state=JobState.QUEUED,
        corpus_name=row.corpus_name,
        encoder=row.encoder,
        encoder_fingerprint=row.fingerprint,
        scorer=row.scorer,
        scorer_fingerprint=row.scorer_fingerprint,
        untrained=row.any_untrained,
        k=new.k,
        top_n=new.top_n,
        query_count=row.query_count,
        pairs_total=0,
        pairs_done=0,
        pairs_reused=0,
        pairs_failed=0,
        filter=row.filter,
        blend=new.blend,
        min_score=new.min_score,
        length_policy=LengthPolicy(row.length_policy),
        deadline=row.deadline,
        metadata=row.metadata,
        warnings=(),
        error=None,
        created_at=row.created_at,
        started_at=None,
        finished_at=None,
    )
