"""Everything that is known of one score: what was asked, what the model said, and which model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from repick.content import Content
from repick.jobs import PairScore
from repick.store import contents, rankings, registry
from repick.store.rankings import Hit
from repick.store.registry import Registered


@dataclass(frozen=True, slots=True)
class Audit:
    """One hit's score; `provenance` is the device and the libraries that computed it."""

    hit: Hit
    query: Content
    document: Content
    pair: PairScore
    scorer: Registered
    provenance: Mapping[str, Any]
    scored_at: datetime


_PAIR = text(
    """
    SELECT p.query_id, p.document_id, p.scorer_id, p.margin, p.score, p.label_mass, p.entropy,
        p.enhanced_at, p.label_logits, p.cut_tokens, p.created_at, v.value AS provenance
    FROM ranking r
    JOIN job_query q ON q.job_id = r.job_id AND q.query_no = r.query_no
    JOIN pair_score p ON p.tenant_id = r.tenant_id AND p.query_id = q.content_id
      AND p.document_id = :document AND p.scorer_id = r.scorer_id
    JOIN provenance v ON v.id = p.provenance_id
    WHERE r.job_id = :job AND r.tenant_id = :tenant AND r.query_no = :query
    """
)


def find(
    connection: Connection, tenant_id: int, job_id: UUID, query_no: int, external_id: str
) -> Audit | None:
    """The score of a hit of a query's ranking; None where there is no such hit."""
    found = rankings.read(connection, tenant_id, job_id, query_no - 1, 1)
    hits = found[0].hits if found and found[0].query_no == query_no else ()
    hit = next((one for one in hits if one.external_id == external_id), None)
    if hit is None:
        return None
    row = connection.execute(
        _PAIR,
        {"document": hit.content_id, "job": job_id, "tenant": tenant_id, "query": query_no},
    ).one()
    both = contents.get(connection, tenant_id, [row.query_id, row.document_id])
    pair = PairScore(
        row.margin,
        row.score,
        row.label_mass,
        row.entropy,
        tuple(row.enhanced_at),
        tuple(tuple(one) for one in row.label_logits),
        row.cut_tokens,
    )
    scorer = registry.scorer_of(connection, row.scorer_id)
    return Audit(
        hit, both[row.query_id], both[row.document_id], pair, scorer, row.provenance, row.created_at
    )
