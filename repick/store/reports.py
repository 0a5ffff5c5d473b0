"""What a run's report shows beside its figures: kept comparisons, failures, documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from repick.store.runs import Run


@dataclass(frozen=True, slots=True)
class Past:
    """A run that has rankings, and its churn against the one before; None where not compared."""

    run_id: UUID
    tick: datetime
    churn: float | None
    top1_churn: float | None


@dataclass(frozen=True, slots=True)
class Failures:
    """Why queries have no ranking, or items no score: how many, and one of them."""

    code: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class Document:
    """An item as it is now."""

    id: str
    text: str | None
    media_sha256: bytes | None
    media_type: str | None
    byte_length: int | None


def history(connection: Connection, one: Run, limit: int) -> list[Past]:
    """The last runs up to this one, the oldest first, with the churn that was kept of each."""
    rows = connection.execute(
        text(
            "SELECT r.run_id, r.tick, (c.summary->>'churn')::float8 AS churn,"
            " (c.summary->>'top1_churn')::float8 AS top1_churn FROM schedule_run r"
            " LEFT JOIN LATERAL (SELECT summary FROM comparison c"
            "  WHERE c.tenant_id = r.tenant_id AND c.after_id = r.run_id AND c.before_id = ("
            "   SELECT b.run_id FROM schedule_run b WHERE b.tenant_id = r.tenant_id"
            "   AND b.schedule_id = r.schedule_id AND b.tick < r.tick AND b.state = 'published'"
            "   ORDER BY b.tick DESC LIMIT 1)) c ON true"
            " WHERE r.tenant_id = :tenant AND r.schedule_id = :schedule AND r.tick <= :tick"
            " AND r.state IN ('published', 'held') ORDER BY r.tick DESC LIMIT :limit"
        ),
        {
            "tenant": one.tenant_id,
            "schedule": one.schedule_id,
            "tick": one.tick,
            "limit": limit,
        },
    )
    return [Past(*row) for row in rows][::-1]


def query_failures(connection: Connection, tenant_id: int, run_id: UUID) -> list[Failures]:
    rows = connection.execute(
        text(
            "SELECT error->>'code' AS code, count(*) AS n,"
            " min(coalesce(standing_query, query_no::text)) AS example FROM job_query"
            " WHERE tenant_id = :tenant AND job_id = :run AND error IS NOT NULL"
            " GROUP BY 1 ORDER BY n DESC, code"
        ),
        {"tenant": tenant_id, "run": run_id},
    )
    return [Failures(*row) for row in rows]


def item_failures(connection: Connection, tenant_id: int, run_id: UUID) -> list[Failures]:
    """Of candidates, so that an item counts once for each query that met it."""
    rows = connection.execute(
        text(
            "SELECT one->>'code' AS code, count(*) AS n, min(one->>'id') AS example"
            " FROM ranking r CROSS JOIN LATERAL jsonb_array_elements(r.errors) one"
            " WHERE r.tenant_id = :tenant AND r.job_id = :run GROUP BY 1 ORDER BY n DESC, code"
        ),
        {"tenant": tenant_id, "run": run_id},
    )
    return [Failures(*row) for row in rows]


def documents(
    connection: Connection, tenant_id: int, run_id: UUID, ids: Sequence[str]
) -> dict[str, Document]:
    """Items of the run's corpus by their ids; those that are gone are left out."""
    rows = connection.execute(
        text(
            "SELECT i.external_id, c.text, m.sha256, m.media_type, m.byte_length FROM job"
            " JOIN item i ON i.tenant_id = job.tenant_id AND i.corpus_id = job.corpus_id"
            " JOIN content c ON c.tenant_id = i.tenant_id AND c.id = i.content_id"
            " LEFT JOIN media m ON m.tenant_id = c.tenant_id AND m.sha256 = c.media_sha256"
            " WHERE job.tenant_id = :tenant AND job.id = :run AND i.external_id = ANY(:ids)"
        ),
        {"tenant": tenant_id, "run": run_id, "ids": list(ids)},
    )
    found = [
        Document(row[0], row[1], None if row[2] is None else bytes(row[2]), row[3], row[4])
        for row in rows
    ]
    return {one.id: one for one in found}
