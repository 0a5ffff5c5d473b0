"""Standing queries of a corpus, known by the caller's own ids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, any_, delete, func, literal, select, text

from repick.tables import standing_query


@dataclass(frozen=True, slots=True)
class NewQuery:
    """What the caller puts: its own id, a stored content, tags and metadata."""

    external_id: str
    content_id: int
    tags: Sequence[str]
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StandingQuery:
    external_id: str
    content_id: int
    tags: Sequence[str]
    metadata: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime


_PUT = text(
    """
    INSERT INTO standing_query AS old
        (tenant_id, corpus_id, external_id, content_id, tags, metadata)
    SELECT :tenant, :corpus, given.external_id, given.content_id,
           ARRAY(SELECT jsonb_array_elements_text(given.tags::jsonb)), given.metadata::jsonb
    FROM unnest(CAST(:external_ids AS text[]), CAST(:content_ids AS bigint[]),
                CAST(:tags AS text[]), CAST(:metadatas AS text[]))
         AS given (external_id, content_id, tags, metadata)
    ORDER BY given.external_id
    ON CONFLICT (tenant_id, corpus_id, external_id) DO UPDATE
    SET content_id = excluded.content_id, tags = excluded.tags, metadata = excluded.metadata,
        updated_at = now()
    WHERE (old.content_id, old.tags, old.metadata)
          IS DISTINCT FROM (excluded.content_id, excluded.tags, excluded.metadata)
    """
)


def put(connection: Connection, tenant_id: int, corpus_id: int, queries: Sequence[NewQuery]) -> int:
    """Insert or change queries by their external ids, which must be distinct.

    Gives how many are new or changed.
    """
    return connection.execute(
        _PUT,
        {
            "tenant": tenant_id,
            "corpus": corpus_id,
            "external_ids": [one.external_id for one in queries],
            "content_ids": [one.content_id for one in queries],
            "tags": [json.dumps(list(one.tags)) for one in queries],
            "metadatas": [json.dumps(dict(one.metadata)) for one in queries],
        },
    ).rowcount


def get(
    connection: Connection, tenant_id: int, corpus_id: int, external_id: str
) -> StandingQuery | None:
    row = connection.execute(
        select(standing_query).where(
            standing_query.c.tenant_id == tenant_id,
            standing_query.c.corpus_id == corpus_id,
            standing_query.c.external_id == external_id,
        )
    ).first()
    return _query(row) if row else None


def listed(
    connection: Connection,
    tenant_id: int,
    corpus_id: int,
    after: str,
    limit: int,
    tag: str | None = None,
) -> list[StandingQuery]:
    """Up to `limit` queries in the order of their external ids, those past `after`."""
    statement = select(standing_query).where(
        standing_query.c.tenant_id == tenant_id,
        standing_query.c.corpus_id == corpus_id,
        standing_query.c.external_id > after,
    )
    if tag is not None:
        statement = statement.where(literal(tag) == any_(standing_query.c.tags))
    rows = connection.execute(statement.order_by(standing_query.c.external_id).limit(limit))
    return [_query(row) for row in rows]


def remove(connection: Connection, tenant_id: int, corpus_id: int, external_id: str) -> bool:
    """Delete a query; False where there is none. Rankings that name it stay."""
    statement = delete(standing_query).where(
        standing_query.c.tenant_id == tenant_id,
        standing_query.c.corpus_id == corpus_id,
        standing_query.c.external_id == external_id,
    )
    return connection.execute(statement).rowcount == 1


def count(connection: Connection, tenant_id: int, corpus_id: int) -> int:
    statement = select(func.count()).where(
        standing_query.c.tenant_id == tenant_id, standing_query.c.corpus_id == corpus_id
    )
    return int(connection.execute(statement).scalar_one())


_COPY = text(
    """
    INSERT INTO job_query (job_id, query_no, tenant_id, content_id, standing_query)
    SELECT :job, row_number() OVER (ORDER BY external_id) - 1, tenant_id, content_id, external_id
    FROM standing_query WHERE tenant_id = :tenant AND corpus_id = :corpus
      AND (CAST(:tags AS text[]) IS NULL OR tags && CAST(:tags AS text[]))
    """
)


def copy_into(
    connection: Connection,
    job_id: UUID,
    tenant_id: int,
    corpus_id: int,
    tags: Sequence[str] | None,
) -> int:
    """Make the corpus's standing queries a job's queries, as they are now; give how many.

    With `tags`, those that carry one of them.
    """
    binds = {
        "job": job_id,
        "tenant": tenant_id,
        "corpus": corpus_id,
        "tags": None if tags is None else list(tags),
    }
    return connection.execute(_COPY, binds).rowcount


def _query(row: Row[Any]) -> StandingQuery:
    return StandingQuery(**{name: getattr(row, name) for name in StandingQuery.__slots__})
