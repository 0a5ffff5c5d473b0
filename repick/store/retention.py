"""What goes: jobs past their age, then pair scores, contents and media that nothing refers to.

Whoever deletes what hangs on a content holds its row FOR UPDATE; whoever uses a content holds it
FOR KEY SHARE from `contents.put` until the commit. So a deletion either sees the use, once it has
the lock, or leaves what is in use alone (SKIP LOCKED); and a use that waited for a deletion finds
the row gone, and stores it again. The database says what refers to what (`repick_content_used`,
`repick_pair_used`, `repick_job_kept`): a new referrer is added there, and in `_FREE_PAIRS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from repick.store.partitions import Week, first_id
from repick.store.rankings import USE_NOTED_EVERY

GRACE = timedelta(hours=24)
"""How long after its last use nothing is collected."""


@dataclass(frozen=True, slots=True)
class Ages:
    """How long finished jobs with their rankings are kept, and scores since their last use."""

    jobs: timedelta
    nightly: timedelta
    scores: timedelta


# Old by its id (its submit), by its kind, ended, and not kept by anything that refers to it.
_EXPIRED = """
    job.id < CASE job.kind WHEN 'nightly' THEN CAST(:nightly AS uuid) ELSE CAST(:other AS uuid) END
    AND job.finished_at < now() - interval '1 hour'
    AND NOT repick_job_kept(job.tenant_id, job.id)
"""


def _expired(ages: Ages, now: datetime) -> dict[str, object]:
    return {"nightly": first_id(now - ages.nightly), "other": first_id(now - ages.jobs)}


def week_expired(connection: Connection, week: Week, ages: Ages, now: datetime) -> bool:
    """Whether nothing of the week is kept."""
    kept = text(f"SELECT EXISTS (SELECT FROM {week.of('job')} job WHERE NOT ({_EXPIRED}))")
    return not connection.execute(kept, _expired(ages, now)).scalar_one()


def delete_jobs(
    connection: Connection,
    partition: str,
    ages: Ages,
    now: datetime,
    limit: int = 200,
    queries: int = 20_000,
) -> int:
    """Delete some of the expired jobs of a partition that keeps others; give how many.

    Of large ones fewer, as their rankings go with them: up to so many queries, or one job.
    """
    statement = text(
        f"DELETE FROM {partition} WHERE id IN (SELECT id FROM ("
        "SELECT id, sum(query_count) OVER (ORDER BY id) - query_count AS before FROM ("
        f"SELECT id, query_count FROM {partition} job WHERE {_EXPIRED}"
        " LIMIT :limit FOR UPDATE SKIP LOCKED) locked) counted WHERE before < :queries)"
    )
    binds = _expired(ages, now) | {"limit": limit, "queries": queries}
    return connection.execute(statement, binds).rowcount


@dataclass(frozen=True, slots=True)
class Place:
    """Where a walk through all contents has come, in the order of their key."""

    tenant_id: int
    content_id: int


START = Place(0, 0)


def _next(connection: Connection, after: Place, limit: int) -> Place | None:
    """The last of the next contents; None at the end."""
    row = connection.execute(
        text(
            "SELECT tenant_id, id FROM (SELECT tenant_id, id FROM content"
            " WHERE (tenant_id, id) > (:tenant, :id) ORDER BY tenant_id, id LIMIT :limit) next"
            " ORDER BY tenant_id DESC, id DESC LIMIT 1"
        ),
        {"tenant": after.tenant_id, "id": after.content_id, "limit": limit},
    ).first()
    return None if row is None else Place(row.tenant_id, row.id)


_AMONG = "(c.tenant_id, c.id) > (:tenant, :id) AND (c.tenant_id, c.id) <= (:last_tenant, :last_id)"


def _among(after: Place, last: Place) -> dict[str, object]:
    return {
        "tenant": after.tenant_id,
        "id": after.content_id,
        "last_tenant": last.tenant_id,
        "last_id": last.content_id,
    }


def delete_pairs(
    connection: Connection, unused: timedelta, after: Place, limit: int = 1000
) -> tuple[int, Place | None]:
    """Of the next contents, delete the pair scores as queries that were not used for so long and
    are in no kept ranking or live job. Gives how many, and the last content's place: None at the
    end.

    Rankings that a schedule keeps for a year keep nearly all old pairs: those of a query are
    looked at together, by the rule of `repick_pair_used`, which asks of each by itself.
    """
    last = _next(connection, after, limit)
    if last is None:
        return 0, None
    binds = _among(after, last) | {"unused": max(unused, GRACE) + USE_NOTED_EVERY, "queries": None}
    free = connection.execute(_FREE_PAIRS, binds).all()
    if not free:
        return 0, last
    queries = {
        "tenants": [row.tenant_id for row in free],
        "queries": [row.query_id for row in free],
    }
    locked = connection.execute(_LOCK_QUERIES, queries).scalars().all()
    # Again, as whoever used one of them until it was locked has committed by now.
    free = connection.execute(_FREE_PAIRS, binds | {"queries": locked}).all()
    pairs = {
        "tenants": [row.tenant_id for row in free],
        "queries": [row.query_id for row in free],
        "documents": [row.document_id for row in free],
    }
    return connection.execute(_DELETE_PAIRS, binds | pairs).rowcount, last


_FREE_PAIRS = text(
    f"""
    WITH old AS MATERIALIZED (
        SELECT c.tenant_id, c.id AS query_id, p.document_id
        FROM content c JOIN pair_score p ON p.tenant_id = c.tenant_id AND p.query_id = c.id
        WHERE {_AMONG} AND p.last_used_at < now() - :unused
          AND (CAST(:queries AS bigint[]) IS NULL OR c.id = ANY(CAST(:queries AS bigint[])))
    ), asked AS MATERIALIZED (
        SELECT q.tenant_id, q.content_id AS query_id, q.job_id, q.query_no, job.finished_at
        FROM (SELECT DISTINCT tenant_id, query_id FROM old) o
        JOIN job_query q ON q.tenant_id = o.tenant_id AND q.content_id = o.query_id
        JOIN job ON job.id = q.job_id
    ), live AS (
        SELECT DISTINCT tenant_id, query_id FROM asked WHERE finished_at IS NULL
    ), ranked AS (
        SELECT a.tenant_id, a.query_id, document_id FROM asked a
        JOIN ranking r ON r.job_id = a.job_id AND r.query_no = a.query_no
        CROSS JOIN unnest(r.content_ids) document_id
    )
    SELECT tenant_id, query_id, document_id FROM old
    WHERE NOT EXISTS (SELECT FROM live WHERE live.tenant_id = old.tenant_id
                      AND live.query_id = old.query_id)
    EXCEPT SELECT tenant_id, query_id, document_id FROM ranked
    """
)
_LOCK_QUERIES = text(
    "SELECT c.id FROM content c WHERE (c.tenant_id, c.id) IN"
    " (SELECT * FROM unnest(CAST(:tenants AS bigint[]), CAST(:queries AS bigint[])))"
    " ORDER BY c.tenant_id, c.id FOR UPDATE SKIP LOCKED"
)
_DELETE_PAIRS = text(
    """
    DELETE FROM pair_score p
    USING unnest(CAST(:tenants AS bigint[]), CAST(:queries AS bigint[]),
        CAST(:documents AS bigint[])) AS free (tenant_id, query_id, document_id)
    WHERE p.tenant_id = free.tenant_id AND p.query_id = free.query_id
      AND p.document_id = free.document_id AND p.last_used_at < now() - :unused
    """
)


def unmark_contents(connection: Connection) -> None:
    """Those contents that are used again lose their note."""
    connection.execute(
        text("DELETE FROM unused_content u WHERE repick_content_used(u.tenant_id, u.content_id)")
    )


def mark_contents(connection: Connection, after: Place, limit: int = 1000) -> Place | None:
    """Note which of the next contents nothing refers to; give the last one's place: None at the
    end."""
    last = _next(connection, after, limit)
    if last is not None:
        connection.execute(_MARK, _among(after, last))
    return last


_MARK = text(
    f"""
    INSERT INTO unused_content (tenant_id, content_id)
    SELECT c.tenant_id, c.id FROM content c
    WHERE {_AMONG} AND NOT repick_content_used(c.tenant_id, c.id)
      AND NOT EXISTS (SELECT FROM unused_content u WHERE u.tenant_id = c.tenant_id
                      AND u.content_id = c.id)
    FOR KEY SHARE OF c SKIP LOCKED
    ON CONFLICT DO NOTHING
    """
)


def delete_comparisons(connection: Connection, limit: int = 1000) -> int:
    """Delete some of the kept comparisons whose later run's job is gone; give how many.

    One whose earlier job alone is gone stays: it is what a report still says of that night.
    """
    return connection.execute(
        text(
            "DELETE FROM comparison WHERE (tenant_id, after_id, before_id) IN ("
            "SELECT c.tenant_id, c.after_id, c.before_id FROM comparison c"
            " WHERE NOT EXISTS (SELECT FROM job WHERE job.id = c.after_id) LIMIT :limit)"
        ),
        {"limit": limit},
    ).rowcount


def delete_contents(connection: Connection, limit: int = 1000) -> int:
    """Delete some of the contents that nothing has referred to for a day; give how many."""
    free = connection.execute(
        text(
            "SELECT c.tenant_id, c.id FROM content c JOIN unused_content u"
            " ON u.tenant_id = c.tenant_id AND u.content_id = c.id WHERE u.since < now() - :grace"
            " ORDER BY c.tenant_id, c.id LIMIT :limit FOR UPDATE OF c SKIP LOCKED"
        ),
        {"grace": GRACE, "limit": limit},
    ).all()
    return connection.execute(
        text(
            "DELETE FROM content c USING unnest(CAST(:tenants AS bigint[]),"
            " CAST(:ids AS bigint[])) AS free (tenant_id, id)"
            " WHERE c.tenant_id = free.tenant_id AND c.id = free.id"
            " AND NOT repick_content_used(c.tenant_id, c.id)"
        ),
        {"tenants": [row.tenant_id for row in free], "ids": [row.id for row in free]},
    ).rowcount


def delete_media(connection: Connection, limit: int = 500) -> list[tuple[int, bytes]]:
    """Delete some of the media rows that no content has; give (tenant, SHA-256) of each.

    Their bytes may go once this is committed, unless they were put again since.
    """
    unused = (
        "NOT EXISTS (SELECT FROM content c WHERE c.tenant_id = m.tenant_id"
        " AND c.media_sha256 = m.sha256)"
    )
    free = connection.execute(
        text(
            "SELECT m.tenant_id, m.sha256 FROM media m WHERE m.created_at < now() - :grace"
            f" AND {unused} LIMIT :limit FOR UPDATE SKIP LOCKED"
        ),
        {"grace": GRACE, "limit": limit},
    ).all()
    gone = connection.execute(
        text(
            "DELETE FROM media m USING unnest(CAST(:tenants AS bigint[]),"
            " CAST(:hashes AS bytea[])) AS free (tenant_id, sha256)"
            " WHERE m.tenant_id = free.tenant_id AND m.sha256 = free.sha256"
            f" AND {unused} RETURNING m.tenant_id, m.sha256"
        ),
        {
            "tenants": [row.tenant_id for row in free],
            "hashes": [bytes(row.sha256) for row in free],
        },
    )
    return [(row.tenant_id, bytes(row.sha256)) for row in gone]
