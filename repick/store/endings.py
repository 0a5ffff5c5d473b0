"""How a job ends: with its last ranking, or because its time is over."""

from __future__ import annotations

from uuid import UUID

from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from repick.store.slices import PATIENCE

_END = text(
    """
    WITH written AS (
        SELECT count(*) AS n, count(*) FILTER (WHERE found < asked) AS short,
               coalesce(sum(jsonb_array_length(errors)), 0) AS item_errors,
               coalesce(sum((SELECT count(*) FROM unnest(cut_tokens) cut WHERE cut > 0)), 0)
                   AS truncated,
               coalesce(bool_or(untrained), false) AS untrained
        FROM ranking WHERE job_id = :job
    ), late AS (
        SELECT count(*) AS queries FROM job_query
        WHERE job_id = :job AND error->>'code' = 'time_limit'
    ), warned AS (
        SELECT coalesce(jsonb_agg(w), '[]') AS list FROM written, late, LATERAL (
            SELECT jsonb_build_object('code', 'fewer_candidates', 'queries', short) AS w
                WHERE short > 0
            UNION ALL SELECT jsonb_build_object('code', 'time_limit', 'queries', late.queries)
                WHERE late.queries > 0
            UNION ALL SELECT jsonb_build_object('code', 'item_errors', 'items', item_errors)
                WHERE item_errors > 0
            UNION ALL SELECT jsonb_build_object('code', 'truncated', 'items', truncated)
                WHERE truncated > 0
            UNION ALL SELECT jsonb_build_object('code', 'untrained_model') WHERE untrained
        ) each
    )
    UPDATE job SET finished_at = now(), warnings = warnings || warned.list,
        state = CAST(CASE WHEN n = query_count THEN 'succeeded' WHEN n > 0 THEN 'partial'
                     ELSE 'failed' END AS job_state),
        error = CASE WHEN n = 0 THEN (SELECT error FROM job_query WHERE job_id = :job
                     AND error IS NOT NULL
                     ORDER BY error->>'code' <> 'time_limit', query_no LIMIT 1) END
    FROM written, warned WHERE job.id = :job
    """
)


def end(connection: Connection, job_id: UUID) -> None:
    """The job's last slice has ended: its state and warnings follow from what was written."""
    connection.execute(_END, {"job": job_id})
    connection.execute(text("DELETE FROM candidate WHERE job_id = :job"), {"job": job_id})


def end_late(connection: Connection, limit: int = 100) -> list[UUID]:
    """End the jobs that have passed their time limit, with the rankings that they have so far.

    One that somebody commits to for long is left for the next round: it must keep no other waiting.
    """
    late = connection.execute(
        text(
            "SELECT id FROM job WHERE finished_at IS NULL AND deadline <= now()"
            " ORDER BY deadline, id LIMIT :limit"
        ),
        {"limit": limit},
    )
    return [job_id for job_id in late.scalars() if _end_late(connection, job_id)]


# Whoever works on a job has locked its slice before its queries and itself.
_WORKED_ON = text(
    "SELECT no FROM slice WHERE job_id = :job AND state IN ('waiting', 'claimed')"
    " ORDER BY stage, no FOR NO KEY UPDATE"
)
_STILL_LIVE = text(
    "SELECT id FROM job WHERE id = :job AND finished_at IS NULL FOR UPDATE SKIP LOCKED"
)


def _end_late(connection: Connection, job_id: UUID) -> bool:
    try:
        with connection.begin_nested():
            connection.execute(text("SET LOCAL lock_timeout = '2s'"))
            connection.execute(_WORKED_ON, {"job": job_id})
    except OperationalError as exc:
        if isinstance(exc.orig, LockNotAvailable):
            return False
        raise
    if connection.execute(_STILL_LIVE, {"job": job_id}).first() is None:
        return False
    connection.execute(
        text(
            "UPDATE job_query q SET error = jsonb_build_object('code', 'time_limit',"
            " 'detail', 'the time limit of the job was reached first') WHERE q.job_id = :job"
            " AND q.error IS NULL AND NOT EXISTS (SELECT FROM ranking r"
            " WHERE r.job_id = q.job_id AND r.query_no = q.query_no)"
        ),
        {"job": job_id},
    )
    # Its candidates go later: a worker may still look at them.
    connection.execute(_END, {"job": job_id})
    return True


def clear_ended(connection: Connection) -> int:
    """Delete the candidates of jobs that were ended from outside; the others have none."""
    connection.execute(text(f"SET LOCAL statement_timeout = '{PATIENCE}'"))
    return connection.execute(
        text(
            "DELETE FROM candidate WHERE job_id IN (SELECT id FROM job"
            " WHERE (state = 'cancelled' OR deadline IS NOT NULL)"
            " AND finished_at < now() - interval '1 minute'"
            " AND EXISTS (SELECT FROM candidate c WHERE c.job_id = job.id) LIMIT 10)"
        )
    ).rowcount
