"""The submit of a job over a corpus in one statement: one round trip, and one commit.

What takes a dozen statements elsewhere (hold the corpus, find its space and encoder, store the
queries' contents, insert job, queries and slices, read the job back) is one here, because submits
come by the hundred a second.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Boolean, Connection, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, INTEGER, INTERVAL

from repick.content import Content
from repick.errors import Unavailable
from repick.jobs import Stage
from repick.store.jobs import AlreadyStored, JobView, NewJob, chunks, view_of
from repick.store.slices import Dispatch
from repick.store.waiting import REPUBLISH_AFTER
from repick.tables import job

TRIES = 5

# The key's share lock is what the job's foreign key takes too: nobody deletes the corpus meanwhile.
# A content that another transaction has just committed is in no snapshot of this statement: then
# `queries` lacks it, no job is inserted, and the next try sees it.
_SUBMIT = text(
    """
    WITH held AS MATERIALIZED (
        SELECT id, name FROM corpus WHERE tenant_id = :tenant AND name = :corpus FOR KEY SHARE
    ), source AS MATERIALIZED (
        SELECT held.id AS corpus_id, held.name AS corpus_name, s.id AS space_id, s.encoder_id,
            e.name AS encoder, e.fingerprint, e.untrained, e.queue || :suffix AS queue
        FROM held
        CROSS JOIN LATERAL (
            SELECT id, encoder_id FROM space
            WHERE tenant_id = :tenant AND corpus_id = held.id AND state <> 'retired'
            ORDER BY state <> 'current', id LIMIT 1
        ) s
        JOIN encoder e ON e.id = s.encoder_id
    ), given AS MATERIALIZED (
        SELECT * FROM unnest(:hashes, :texts, :media, :instructions) WITH ORDINALITY
            AS g (sha256, text, media_sha256, instruction, no)
    ), stored AS (
        INSERT INTO content (tenant_id, sha256, text, media_sha256, instruction)
        SELECT DISTINCT ON (sha256) :tenant, sha256, text, media_sha256, instruction
        FROM given WHERE EXISTS (SELECT FROM source) ORDER BY sha256
        ON CONFLICT DO NOTHING RETURNING id, sha256
    ), known AS MATERIALIZED (
        SELECT id, sha256 FROM stored
        UNION ALL
        SELECT id, sha256 FROM (
            SELECT id, sha256 FROM content WHERE tenant_id = :tenant AND sha256 = ANY(:hashes)
            ORDER BY sha256 FOR KEY SHARE
        ) locked
    ), queries AS MATERIALIZED (
        SELECT given.no - 1 AS query_no, known.id AS content_id
        FROM given JOIN known USING (sha256)
    ), new AS (
        INSERT INTO job (id, tenant_id, kind, state, corpus_id, corpus_name, space_id, encoder_id,
            scorer_id, k, top_n, query_count, slices_left, filter, blend, min_score, deadline,
            metadata, trace)
        SELECT :id, :tenant, CAST(:kind AS job_kind), 'queued', corpus_id, corpus_name, space_id,
            encoder_id, :scorer, :k, :top_n, :count, cardinality(:firsts), CAST(:filter AS jsonb),
            :blend, :min_score, now() + :time_limit, CAST(:metadata AS jsonb), :trace
        FROM source WHERE (SELECT count(*) FROM queries) = :count
        ON CONFLICT DO NOTHING RETURNING *
    ), asked AS (
        INSERT INTO job_query (job_id, tenant_id, query_no, content_id)
        SELECT new.id, new.tenant_id, query_no, content_id FROM new CROSS JOIN queries
    ), cut AS (
        INSERT INTO slice (job_id, tenant_id, stage, no, first, last, queue, state, publish_at)
        SELECT new.id, new.tenant_id, 'retrieve', part.no - 1, part.first, part.last, source.queue,
            'waiting', now() + :after
        FROM new CROSS JOIN source
        CROSS JOIN unnest(:firsts, :lasts) WITH ORDINALITY AS part (first, last, no)
    )
    SELECT new.*, source.queue, source.encoder, source.fingerprint AS encoder_fingerprint,
        scorer.name AS scorer, scorer.fingerprint AS scorer_fingerprint,
        scorer.specification ->> 'length_policy' AS length_policy,
        scorer.untrained OR source.untrained AS untrained,
        (SELECT count(*) FROM queries) = :count AS complete
    FROM source JOIN scorer ON scorer.id = :scorer LEFT JOIN new ON true
    """
).bindparams(
    bindparam("hashes", type_=ARRAY(BYTEA)),
    bindparam("texts", type_=ARRAY(Text)),
    bindparam("media", type_=ARRAY(BYTEA)),
    bindparam("instructions", type_=ARRAY(Text)),
    bindparam("firsts", type_=ARRAY(INTEGER)),
    bindparam("lasts", type_=ARRAY(INTEGER)),
    bindparam("time_limit", type_=INTERVAL),
    after=REPUBLISH_AFTER,
)
_READ = _SUBMIT.columns(
    **{column.name: column.type for column in job.c},
    queue=Text,
    encoder=Text,
    encoder_fingerprint=Text,
    scorer=Text,
    scorer_fingerprint=Text,
    length_policy=Text,
    untrained=Boolean,
    complete=Boolean,
)


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
        row = connection.execute(_READ, binds).first()
        if row is None:
            return None
        if row.id is not None:
            return view_of(row), Dispatch(new.id, Stage.RETRIEVE, row.queue, len(ranges))
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
        "kind": new.kind,
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
    }
