"""Vectors of standing queries: an encoder computes each once, not every night."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, text

from repick.store.vectors import half

_KEPT = text(
    "SELECT content_id, vector::real[] AS vector FROM query_vector WHERE tenant_id = :tenant"
    " AND encoder_id = :encoder AND content_id = ANY(:contents)"
)
_KEEP = text(
    "INSERT INTO query_vector (tenant_id, encoder_id, content_id, vector)"
    " VALUES (:tenant, :encoder, :content, CAST(:vector AS halfvec)) ON CONFLICT DO NOTHING"
)


def kept(
    connection: Connection, tenant_id: int, encoder_id: int, content_ids: Sequence[int]
) -> dict[int, list[float]]:
    """Vectors by content; what was never kept is left out.

    Half precision, as a search casts a query's vector too: a kept one finds the same.
    """
    binds = {"tenant": tenant_id, "encoder": encoder_id, "contents": list(content_ids)}
    return {row.content_id: list(row.vector) for row in connection.execute(_KEPT, binds)}


def keep(
    connection: Connection, tenant_id: int, encoder_id: int, vectors: Mapping[int, Sequence[float]]
) -> None:
    """Keep vectors by content for the runs to come."""
    rows = [
        {
            "tenant": tenant_id,
            "encoder": encoder_id,
            "content": content_id,
            "vector": half(vector),
        }
        for content_id, vector in sorted(vectors.items())
    ]
    if rows:
        connection.execute(_KEEP, rows)


def forget(connection: Connection, tenant_id: int) -> int:
    """Delete the vectors of contents that are no standing query any more; give how many."""
    statement = text(
        "DELETE FROM query_vector v WHERE v.tenant_id = :tenant AND NOT EXISTS (SELECT"
        " FROM standing_query q WHERE q.tenant_id = v.tenant_id AND q.content_id = v.content_id)"
    )
    return connection.execute(statement, {"tenant": tenant_id}).rowcount
