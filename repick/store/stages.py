"""How a job goes from stage to stage: whoever ends a stage's last slice opens the next one.

Each function runs inside the transaction that ends a slice, under the job's row lock, and gives
what to publish once that transaction is committed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, text

from repick.jobs import JobKind, Slice, Stage, bulk_queue
from repick.store import endings, slices
from repick.store.jobs import chunks, insert_slices
from repick.store.slices import Dispatch
from repick.store.spaces import Neighbour

RANK_QUEUE = "rank"
RANK_SLICE_QUERIES = 200


def coarse_queues(encoder_queue: str) -> list[str]:
    """The queues of a coarse worker in the order of service: what is interactive goes first."""
    interactive = (RANK_QUEUE, encoder_queue)
    return [*interactive, *(bulk_queue(queue) for queue in interactive)]


def close(connection: Connection, held: Slice, slice_pairs: int) -> Dispatch | None:
    """A held slice's work is committed: end it, count it, and open the next stage at zero."""
    slices.finish(connection, held)
    _count_rest(connection, held, "pairs_reused")
    return _advance(connection, held, slice_pairs)


def close_failed(connection: Connection, ended: Slice, slice_pairs: int) -> Dispatch | None:
    """A slice has failed for good: its queries say so, and the job goes on with the others."""
    if ended.stage is not Stage.SCORE:
        _fail_queries(connection, ended)
    _count_rest(connection, ended, "pairs_failed")
    return _advance(connection, ended, slice_pairs)


def propose(connection: Connection, held: Slice, query_no: int, found: Sequence[Neighbour]) -> None:
    """Store the candidates of one query of a held retrieval slice."""
    if not found:
        return
    connection.execute(
        _PROPOSE,
        {
            "job": held.job_id,
            "query": query_no,
            "tenant": held.tenant_id,
            "items": [one.item_id for one in found],
            "externals": [one.external_id for one in found],
            "contents": [one.content_id for one in found],
            "scores": [one.cosine for one in found],
        },
    )


# One statement and an array a column, whatever k: a statement a row took both sides longer.
_PROPOSE = text(
    "INSERT INTO candidate (job_id, query_no, coarse_rank, tenant_id, item_id, external_id,"
    " content_id, coarse_score) SELECT :job, :query, given.rank, :tenant, given.item_id,"
    " given.external_id, given.content_id, given.score FROM unnest(CAST(:items AS bigint[]),"
    " CAST(:externals AS text[]), CAST(:contents AS bigint[]), CAST(:scores AS float8[]))"
    " WITH ORDINALITY AS given (item_id, external_id, content_id, score, rank)"
    " ON CONFLICT DO NOTHING"
)


def fail_query(
    connection: Connection, job_id: UUID, query_no: int, error: Mapping[str, object]
) -> None:
    """Record why one query gets no ranking; the first reason stays."""
    connection.execute(
        text(
            "UPDATE job_query SET error = CAST(:error AS jsonb)"
            " WHERE job_id = :job AND query_no = :query AND error IS NULL"
        ),
        {"error": json.dumps(error), "job": job_id, "query": query_no},
    )


def warn(connection: Connection, job_id: UUID, code: str, **facts: object) -> None:
    """Add a warning to the job, once a code."""
    warning = {"code": code} | facts
    connection.execute(
        text(
            "UPDATE job SET warnings = warnings || CAST(:warning AS jsonb) WHERE id = :job"
            " AND finished_at IS NULL AND NOT warnings @> CAST(:same AS jsonb)"
        ),
        {
            "warning": json.dumps([warning]),
            "same": json.dumps([{"code": code}]),
            "job": job_id,
        },
    )


def warn_unserved(connection: Connection, silent: timedelta) -> None:
    """Say on live jobs that no worker has served their model for so long."""
    for model in ("encoder", "scorer"):
        connection.execute(
            text(
                "UPDATE job SET warnings = warnings || jsonb_build_array(jsonb_build_object("
                "'code', 'model_not_served', 'model', m.name, 'queue', m.queue))"
                f" FROM {model} m WHERE job.{model}_id = m.id AND job.finished_at IS NULL"
                " AND m.seen_at < now() - :silent AND job.created_at < now() - :silent"
                ' AND NOT job.warnings @> \'[{"code": "model_not_served"}]\''
            ),
            {"silent": silent},
        )


def _advance(connection: Connection, ended: Slice, slice_pairs: int) -> Dispatch | None:
    left = slices.count_down(connection, ended.job_id, ended.stage.state)
    if left != 0:
        return None
    if ended.stage is Stage.RETRIEVE:
        return open_scoring(connection, ended.job_id, ended.tenant_id, slice_pairs)
    if ended.stage is Stage.SCORE:
        return _open_ranking(connection, ended.job_id, ended.tenant_id)
    endings.end(connection, ended.job_id)
    return None


_PAIRS = """
    SELECT c.query_no, c.coarse_rank, q.content_id AS query_id, c.content_id AS document_id,
           content.media_sha256 IS NOT NULL AS image_query,
           EXISTS (SELECT FROM pair_score p WHERE p.tenant_id = c.tenant_id
                   AND p.query_id = q.content_id AND p.document_id = c.content_id
                   AND p.scorer_id = job.scorer_id) AS known
    FROM job
    JOIN candidate c ON c.job_id = job.id
    JOIN job_query q ON q.job_id = c.job_id AND q.query_no = c.query_no
    JOIN content ON content.tenant_id = q.tenant_id AND content.id = q.content_id
    WHERE job.id = :job AND c.error_code IS NULL
"""

# Neighbours share the long front part of their prompt: the query's where it has an image,
# otherwise the document's.
_NUMBER = text(
    f"""
    WITH pair AS ({_PAIRS}), numbered AS (
        SELECT query_no, coarse_rank, dense_rank() OVER (
            ORDER BY image_query, CASE WHEN image_query THEN query_id ELSE document_id END,
                     query_id, document_id) - 1 AS pair_no
        FROM pair WHERE NOT known
    ), set_no AS (
        UPDATE candidate c SET pair_no = n.pair_no FROM numbered n
        WHERE c.job_id = :job AND c.query_no = n.query_no AND c.coarse_rank = n.coarse_rank
        RETURNING c.pair_no
    )
    SELECT (SELECT count(*) FROM (SELECT DISTINCT query_id, document_id FROM pair) p) AS total,
           (SELECT count(DISTINCT pair_no) FROM set_no) AS open
    """
)

# A job that was never claimed stays queued, whatever stage it begins with.
_STATE = "CASE WHEN job.state = 'queued' THEN job.state ELSE CAST(:state AS job_state) END"


def open_scoring(
    connection: Connection, job_id: UUID, tenant_id: int, slice_pairs: int
) -> Dispatch:
    """Number the pairs that the ledger lacks and cut them into slices; rank where it has all."""
    counts = connection.execute(_NUMBER, {"job": job_id}).one()
    ranges = chunks(counts.open, slice_pairs)
    head = connection.execute(
        text(
            f"UPDATE job SET state = {_STATE}, slices_left = :left, pairs_total = :total,"
            " pairs_reused = :reused, pairs_done = :reused FROM scorer"
            " WHERE job.id = :job AND scorer.id = job.scorer_id"
            " RETURNING scorer.queue, job.kind"
        ),
        {
            "left": len(ranges),
            "total": counts.total,
            "reused": counts.total - counts.open,
            "state": Stage.SCORE.state,
            "job": job_id,
        },
    ).one()
    if not ranges:
        return _open_ranking(connection, job_id, tenant_id)
    queue = JobKind(head.kind).queue(head.queue)
    insert_slices(connection, job_id, tenant_id, Stage.SCORE, queue, ranges)
    return Dispatch(job_id, Stage.SCORE, queue, len(ranges))


def _open_ranking(connection: Connection, job_id: UUID, tenant_id: int) -> Dispatch:
    head = connection.execute(
        text(
            f"UPDATE job SET state = {_STATE},"
            " slices_left = (query_count + CAST(:size AS int) - 1) / CAST(:size AS int)"
            " WHERE id = :job RETURNING query_count, kind"
        ),
        {"job": job_id, "state": Stage.RANK.state, "size": RANK_SLICE_QUERIES},
    ).one()
    ranges = chunks(head.query_count, RANK_SLICE_QUERIES)
    queue = JobKind(head.kind).queue(RANK_QUEUE)
    insert_slices(connection, job_id, tenant_id, Stage.RANK, queue, ranges)
    return Dispatch(job_id, Stage.RANK, queue, len(ranges))


def _count_rest(connection: Connection, ended: Slice, column: str) -> None:
    """Pairs of an ended slice that no batch of it counted: reused from another job, or failed."""
    if ended.stage is not Stage.SCORE:
        return
    connection.execute(
        text(
            "UPDATE job SET pairs_done = job.pairs_done + rest.n,"
            f" {column} = job.{column} + rest.n"
            " FROM (SELECT last - first + 1 - pairs_done AS n FROM slice WHERE job_id = :job"
            " AND stage = 'score' AND no = :no) rest"
            " WHERE job.id = :job AND job.finished_at IS NULL"
        ),
        {"job": ended.job_id, "no": ended.no},
    )


def _fail_queries(connection: Connection, ended: Slice) -> None:
    connection.execute(
        text(
            "UPDATE job_query q SET error = jsonb_build_object('code',"
            " CASE s.stage WHEN 'retrieve' THEN 'retrieval_failed' ELSE 'ranking_failed' END,"
            " 'detail', 'workers failed three times over it', 'reason', s.error_code) FROM slice s"
            " WHERE s.job_id = :job AND s.stage = CAST(:stage AS stage) AND s.no = :no"
            " AND q.job_id = :job AND q.query_no BETWEEN s.first AND s.last AND q.error IS NULL"
            " AND NOT EXISTS (SELECT FROM ranking r WHERE r.job_id = q.job_id"
            " AND r.query_no = q.query_no)"
        ),
        {"job": ended.job_id, "stage": ended.stage, "no": ended.no},
    )
