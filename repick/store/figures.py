"""Figures for operators: what waits, for how long, and how the jobs stand. Of all tenants."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """A queue's waiting slices, and the age in seconds of the oldest job that has one there."""

    queue: str
    waiting: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True)
class EmbeddingFigures:
    pending: int
    failed: int


def queues(connection: Connection) -> list[QueueFigures]:
    rows = connection.execute(
        text(
            "SELECT s.queue, count(*) AS n, extract(epoch FROM now() - min(job.created_at)) AS age"
            " FROM slice s JOIN job ON job.id = s.job_id"
            " WHERE s.state = 'waiting' AND job.finished_at IS NULL GROUP BY s.queue"
        )
    )
    return [QueueFigures(row.queue, int(row.n), max(0.0, float(row.age))) for row in rows]


def jobs(connection: Connection) -> Mapping[str, int]:
    """Jobs by state: all that live, and those of the last 24 hours that have ended."""
    rows = connection.execute(
        text(
            "SELECT state::text AS state, count(*) AS n FROM ("
            " SELECT state FROM job WHERE finished_at IS NULL UNION ALL"
            " SELECT state FROM job WHERE id >= :since AND finished_at IS NOT NULL"
            ") jobs GROUP BY state"
        ),
        {"since": _first_id(time.time() - 24 * 3600)},
    )
    return {row.state: int(row.n) for row in rows}


def backlog(connection: Connection) -> dict[int, int]:
    """Queries times k of unfinished jobs but nightly ones, by tenant: from an index alone."""
    rows = connection.execute(_BACKLOG)
    return {row.tenant_id: int(row.pairs) for row in rows}


_BACKLOG = text(
    "SELECT tenant_id, sum(query_count::bigint * k) AS pairs FROM job"
    " WHERE finished_at IS NULL AND kind <> 'nightly' GROUP BY tenant_id"
)


def _first_id(seconds: float) -> UUID:
    """The lowest uuid7 of a moment: job ids begin with their time in milliseconds (RFC 9562)."""
    return UUID(int=int(seconds * 1000) << 80)


def embedding(connection: Connection) -> EmbeddingFigures:
    row = connection.execute(
        text(
            "SELECT count(*) FILTER (WHERE error_code IS NULL) AS pending,"
            " count(*) FILTER (WHERE error_code IS NOT NULL) AS failed FROM pending_embedding"
        )
    ).one()
    return EmbeddingFigures(int(row.pending), int(row.failed))
