"""Rankings: one insert-only row a query, copied by name from what was ranked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from repick.jobs import Slice
from repick.ranking import Candidate, Order, failure, ranked
from repick.specs import Readout
from repick.store import driver, stages

USE_NOTED_EVERY = timedelta(days=7)
"""`last_used_at` may be so much earlier than the last use: else a night would write all of its
ledger anew."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a job's rankings are made of, beside their candidates."""

    k: int
    readout: Readout
    order: Order


class Hit(NamedTuple):
    """One place of a ranking, from 1; `enhanced_at` is the first layer that fired, or None."""

    rank: int
    external_id: str
    content_id: int
    score: float
    margin: float | None
    label_mass: float
    entropy: float
    enhanced_at: int | None
    coarse_rank: int
    coarse_score: float | None
    cut_tokens: int


@dataclass(frozen=True, slots=True)
class Ranking:
    query_no: int
    asked: int
    found: int
    search: str | None
    matching: int | None
    blend: float
    min_score: float | None
    untrained: bool
    hits: tuple[Hit, ...]
    errors: Sequence[Mapping[str, Any]]
    created_at: datetime


COLUMNS = ", ".join(
    f"r.{name}"
    for name in (
        "job_id",
        *(name for name in Ranking.__slots__ if name != "hits"),
        *("external_ids", "content_ids", "scores", "margins", "label_masses", "entropies"),
        *("enhanced_at", "coarse_ranks", "coarse_scores", "cut_tokens"),
    )
)
"""Of `ranking r`, by name: where a migration adds a column, a connection that has prepared `r.*`
can never run it again."""


@dataclass(frozen=True, slots=True)
class QueryError:
    """Why one query of a job has no ranking."""

    query_no: int
    error: Mapping[str, Any]


def ask(connection: Connection, job_id: UUID) -> Ask:
    row = connection.execute(
        text(
            "SELECT k, top_n, blend, min_score, scorer.readout FROM job"
            " JOIN scorer ON scorer.id = job.scorer_id WHERE job.id = :job"
        ),
        {"job": job_id},
    ).one()
    order = Order(row.top_n, row.blend, row.min_score)
    return Ask(row.k, Readout(row.readout), order)


def unranked(connection: Connection, held: Slice) -> list[int]:
    """The slice's queries that have neither a ranking nor an error yet."""
    rows = connection.execute(
        text(
            "SELECT q.query_no FROM job_query q WHERE q.job_id = :job"
            " AND q.query_no BETWEEN :first AND :last AND q.error IS NULL AND NOT EXISTS"
            " (SELECT FROM ranking r WHERE r.job_id = q.job_id AND r.query_no = q.query_no)"
            " ORDER BY q.query_no"
        ),
        {"job": held.job_id, "first": held.first, "last": held.last},
    )
    return [row.query_no for row in rows]


def _candidates(
    connection: Connection, job_id: UUID, query_nos: Sequence[int]
) -> tuple[dict[int, list[Candidate]], bool]:
    """Candidates by query, in coarse order, with the ledger's scores or their errors.

    True beside them where the use of a score is to be noted.
    """
    rows = connection.execute(
        text(
            "SELECT c.query_no, c.item_id, c.external_id, c.content_id, c.coarse_rank,"
            " c.coarse_score, p.score, p.margin, p.label_mass, p.entropy, p.enhanced_at,"
            " coalesce(p.cut_tokens, 0) AS cut_tokens,"
            " c.error_code, c.retryable,"
            " coalesce(p.last_used_at < now() - :noted, false) AS stale"
            " FROM candidate c"
            " JOIN job ON job.id = c.job_id"
            " JOIN job_query q ON q.job_id = c.job_id AND q.query_no = c.query_no"
            " LEFT JOIN pair_score p ON p.tenant_id = c.tenant_id AND p.query_id = q.content_id"
            " AND p.document_id = c.content_id AND p.scorer_id = job.scorer_id"
            " WHERE c.job_id = :job AND c.query_no = ANY(:queries)"
            " ORDER BY c.query_no, c.coarse_rank"
        ),
        {"job": job_id, "queries": list(query_nos), "noted": USE_NOTED_EVERY},
    )
    found: dict[int, list[Candidate]] = {query_no: [] for query_no in query_nos}
    stale = False
    for row in rows:
        facts = dict(row._mapping) | {"enhanced_at": row.enhanced_at or ()}
        stale = facts.pop("stale") or stale
        found[facts.pop("query_no")].append(Candidate(**facts))
    return found, stale


def rank(connection: Connection, held: Slice, query_nos: Sequence[int], ask: Ask) -> None:
    """Write the rankings of some queries, or why they have none; note that their pairs are used."""
    by_query, stale = _candidates(connection, held.job_id, query_nos)
    if stale:
        binds = {"job": held.job_id, "queries": list(query_nos), "noted": USE_NOTED_EVERY}
        connection.execute(_TOUCH, binds)
    reason = _reason(connection, held)
    for query_no, found in by_query.items():
        if error := failure(found, reason):
            stages.fail_query(connection, held.job_id, query_no, error)
        else:
            write(connection, held, query_no, ask, found, ranked(found, ask.readout, ask.order))


# Those that another transaction holds are being noted by it: waiting for it could be a circle.
_TOUCH = text(
    """
    WITH used AS (
        SELECT p.tenant_id, p.query_id, p.document_id, p.scorer_id FROM candidate c
        JOIN job ON job.id = c.job_id
        JOIN job_query q ON q.job_id = c.job_id AND q.query_no = c.query_no
        JOIN pair_score p ON p.tenant_id = c.tenant_id AND p.query_id = q.content_id
            AND p.document_id = c.content_id AND p.scorer_id = job.scorer_id
        WHERE c.job_id = :job AND c.query_no = ANY(:queries)
          AND p.last_used_at < now() - :noted
        FOR NO KEY UPDATE OF p SKIP LOCKED
    )
    UPDATE pair_score p SET last_used_at = now() FROM used
    WHERE p.tenant_id = used.tenant_id AND p.query_id = used.query_id
      AND p.document_id = used.document_id AND p.scorer_id = used.scorer_id
    """
)


def _reason(connection: Connection, held: Slice) -> str | None:
    """What ended the first of the job's failed scoring slices."""
    reason = connection.execute(
        text(
            "SELECT error_code FROM slice WHERE job_id = :job AND stage = 'score'"
            " AND state = 'failed' ORDER BY no LIMIT 1"
        ),
        {"job": held.job_id},
    ).scalar()
    return None if reason is None else str(reason)


def write(
    connection: Connection,
    held: Slice,
    query_no: int,
    ask: Ask,
    found: Sequence[Candidate],
    hits: Sequence[Candidate],
) -> None:
    """Insert a query's ranking, once, and only while its job runs."""
    errors = [
        {"id": one.external_id, "code": one.error_code, "retryable": one.retryable}
        for one in found
        if one.error_code
    ]
    columns = {
        "external_ids": [one.external_id for one in hits],
        "content_ids": [one.content_id for one in hits],
        "scores": [one.score for one in hits],
        "margins": [one.margin for one in hits],
        "label_masses": [one.label_mass for one in hits],
        "entropies": [one.entropy for one in hits],
        "enhanced_at": [one.first_enhanced_at for one in hits],
        "coarse_ranks": [one.coarse_rank for one in hits],
        "coarse_scores": [one.coarse_score for one in hits],
        "cut_tokens": [one.cut_tokens for one in hits],
    }
    connection.execute(
        _WRITE,
        columns
        | {
            "job": held.job_id,
            "query": query_no,
            "asked": ask.k,
            "found": len(found),
            "errors": json.dumps(errors),
        },
    )


_WRITE = text(
    """
    INSERT INTO ranking (job_id, query_no, tenant_id, scorer_id, encoder_id, untrained, asked,
        found, search, matching, blend, min_score, external_ids, content_ids, scores, margins,
        label_masses, entropies, enhanced_at, coarse_ranks, coarse_scores, cut_tokens, errors)
    SELECT job.id, :query, job.tenant_id, job.scorer_id, job.encoder_id,
        scorer.untrained OR coalesce(encoder.untrained, false), :asked, :found,
        q.search, q.matching, job.blend, job.min_score,
        CAST(:external_ids AS text[]), CAST(:content_ids AS bigint[]),
        CAST(:scores AS double precision[]), CAST(:margins AS double precision[]),
        CAST(:label_masses AS double precision[]), CAST(:entropies AS double precision[]),
        CAST(:enhanced_at AS smallint[]), CAST(:coarse_ranks AS integer[]),
        CAST(:coarse_scores AS double precision[]), CAST(:cut_tokens AS integer[]),
        CAST(:errors AS jsonb)
    FROM job JOIN scorer ON scorer.id = job.scorer_id
    JOIN job_query q ON q.job_id = job.id AND q.query_no = :query
    LEFT JOIN encoder ON encoder.id = job.encoder_id
    WHERE job.id = :job AND job.finished_at IS NULL FOR SHARE OF job
    ON CONFLICT (job_id, query_no) DO NOTHING
    """
)


def read(
    connection: Connection, tenant_id: int, job_id: UUID, after: int = -1, limit: int = 100
) -> list[Ranking]:
    """Rankings of a job by query number, those past `after`."""
    rows = driver.rows(
        connection,
        f"SELECT {COLUMNS} FROM ranking r WHERE job_id = %(job)s AND tenant_id = %(tenant)s"
        " AND query_no > %(after)s ORDER BY query_no LIMIT %(limit)s",
        {"job": job_id, "tenant": tenant_id, "after": after, "limit": limit},
        binary=True,
    )
    return [ranking_of(row) for row in rows]


def count(connection: Connection, tenant_id: int, job_id: UUID) -> int:
    """How many of the job's queries have their ranking."""
    statement = text("SELECT count(*) FROM ranking WHERE job_id = :job AND tenant_id = :tenant")
    return int(connection.execute(statement, {"job": job_id, "tenant": tenant_id}).scalar_one())


def query_errors(connection: Connection, tenant_id: int, job_id: UUID) -> list[QueryError]:
    rows = driver.rows(
        connection,
        "SELECT query_no, error FROM job_query WHERE job_id = %(job)s AND tenant_id = %(tenant)s"
        " AND error IS NOT NULL ORDER BY query_no",
        {"job": job_id, "tenant": tenant_id},
    )
    return [QueryError(row.query_no, row.error) for row in rows]


def ranking_of(row: Any) -> Ranking:
    """Of a row of the table."""
    places = zip(
        range(1, len(row.scores) + 1),
        row.external_ids,
        row.content_ids,
        row.scores,
        row.margins,
        row.label_masses,
        row.entropies,
        row.enhanced_at,
        row.coarse_ranks,
        row.coarse_scores,
        row.cut_tokens or [0] * len(row.scores),
        strict=True,
    )
    hits = tuple(map(Hit._make, places))
    same = {name: getattr(row, name) for name in Ranking.__slots__ if name != "hits"}
    return Ranking(**same, hits=hits)
