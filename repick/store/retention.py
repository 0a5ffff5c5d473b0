"""What goes: jobs past their age, then pair scores, contents and media that nothing refers to.

Whoever deletes what hangs on a content holds its row FOR UPDATE; whoever uses a content holds it
FOR KEY SHARE from `contents.put` until the commit. So a deletion either sees the use, once it has
the lock, or leaves what is in use alone (SKIP LOCKED); and a use that waited for a deletion finds
the row gone, and stores it again. The database says what refers to what (`repick_content_used`,
`repick_pair_used`, `repick_job_kept`): a new referrer is added there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from repick.store.partitions import Week, first_id

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
    connection: Connection, partition: str, ages: Ages, now: datetime, limit: int = 200
) -> int:
    """Delete some of the expired jobs of a partition that keeps others; give how many."""
    statement = text(
        f"DELETE FROM {partition} WHERE id IN (SELECT id FROM {partition} job WHERE {_EXPIRED}"
        " LIMIT :limit FOR UPDATE SKIP LOCKED)"
    )
    return connection.execute(statement, _expired(ages, now) | {"limit": limit}).rowcount


def delete_pairs(connection: Connection, unused: timedelta, limit: int = 2000) -> int:
    """Delete some of the pair scores not used for so long and in no kept ranking or live job."""
    queries = connection.execute(
        text(
            "SELECT c.tenant_id, c.id FROM content c WHERE (c.tenant_id, c.id) IN ("
            " SELECT tenant_id, query_id FROM pair_score p WHERE last_used_at < now() - :unused"
            " AND NOT repick_pair_used(tenant_id, query_id, document_id) LIMIT :limit)"
            " ORDER BY c.tenant_id, c.id FOR UPDATE SKIP LOCKED"
        ),
        {"unused": max(unused, GRACE), "limit": limit},
    ).all()
    return connection.execute(
        text(
            "DELETE FROM pair_score p USING unnest(CAST(:tenants AS bigint[]),"
            " CAST(:queries AS bigint[])) AS free (tenant_id, query_id)"
            " WHERE p.tenant_id = free.tenant_id AND p.query_id = free.query_id"
            " AND p.last_used_at < now() - :unused"
            " AND NOT repick_pair_used(p.tenant_id, p.query_id, p.document_id)"
        ),
        {
            "tenants": [row.tenant_id for row in queries],
            "queries": [row.id for row in queries],
            "unused": max(unused, GRACE),
        },
    ).rowcount


def mark_contents(connection: Connection, after: int, limit: int = 10_000) -> int | None:
    """Note which of the next contents by id nothing refers to; give the last id, None at the end.

    Those that are used again by now lose their note.
    """
    connection.execute(
        text("DELETE FROM unused_content u WHERE repick_content_used(u.tenant_id, u.content_id)")
    )
    last: int | None = connection.execute(
        text(
            "WITH next AS (SELECT tenant_id, id FROM content WHERE id > :after ORDER BY id"
            " LIMIT :limit), free AS (SELECT c.tenant_id, c.id FROM content c JOIN next"
            " USING (tenant_id, id) WHERE NOT repick_content_used(c.tenant_id, c.id)"
            " AND NOT EXISTS (SELECT FROM unused_content u WHERE u.tenant_id = c.tenant_id"
            " AND u.content_id = c.id) FOR KEY SHARE OF c SKIP LOCKED), noted AS ("
            " INSERT INTO unused_content (tenant_id, content_id) SELECT tenant_id, id FROM free"
            " ON CONFLICT DO NOTHING)"
            " SELECT max(id) FROM next"
        ),
        {"after": after, "limit": limit},
    ).scalar_one()
    return last


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
