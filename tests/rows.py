"""What the database holds of a tenant, to compare before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, text

_TABLES = text(
    "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    " WHERE a.attname = 'tenant_id' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
    " AND c.relnamespace = current_schema()::regnamespace"
)
_ROWS = (
    "SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY to_jsonb(t)::text), '[]')"
    " FROM {} t WHERE tenant_id = :id"
)


def of_tenant(connection: Connection, tenant_id: int) -> Mapping[str, Any]:
    """All rows of a tenant in every table of the catalogue, by the tables' names."""
    names = connection.execute(_TABLES).scalars().all()
    return {
        name: connection.execute(text(_ROWS.format(name)), {"id": tenant_id}).scalar()
        for name in names
    }
