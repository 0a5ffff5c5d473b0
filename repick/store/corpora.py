"""Corpora and their items, known by the caller's own ids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from repick.store import schedules
from repick.tables import corpus, item, schedule


@dataclass(frozen=True, slots=True)
class Corpus:
    id: int
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewItem:
    """What the caller puts: its own id, a stored content, and metadata."""

    external_id: str
    content_id: int
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    id: int
    external_id: str
    content_id: int
    metadata: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime


# Built once: on the path of every submit, building a statement costs more than running it.
_NAMED = select(corpus).where(
    corpus.c.tenant_id == bindparam("tenant"), corpus.c.name == bindparam("name")
)
_NAMED_HELD = _NAMED.with_for_update(read=True)
_NAMED_TO_DELETE = _NAMED.with_for_update()


def create(connection: Connection, tenant_id: int, name: str) -> int | None:
    """The new corpus's id; None where the tenant has one of that name."""
    statement = insert(corpus).values(tenant_id=tenant_id, name=name).on_conflict_do_nothing()
    found = connection.execute(statement.returning(corpus.c.id)).scalar()
    return int(found) if found is not None else None


def named(connection: Connection, tenant_id: int, name: str) -> Corpus | None:
    row = connection.execute(_NAMED, {"tenant": tenant_id, "name": name}).first()
    return Corpus(row.id, row.name, row.created_at) if row else None


def held(
    connection: Connection, tenant_id: int, name: str, *, to_delete: bool = False
) -> Corpus | None:
    """As `named`, and nobody can delete the corpus until the transaction ends.

    Many may hold it at once; with `to_delete` only one, and nobody else.
    """
    statement = _NAMED_TO_DELETE if to_delete else _NAMED_HELD
    row = connection.execute(statement, {"tenant": tenant_id, "name": name}).first()
    return Corpus(row.id, row.name, row.created_at) if row else None


def listed(connection: Connection, tenant_id: int) -> list[Corpus]:
    rows = connection.execute(
        select(corpus).where(corpus.c.tenant_id == tenant_id).order_by(corpus.c.name)
    )
    return [Corpus(row.id, row.name, row.created_at) for row in rows]


def remove(connection: Connection, tenant_id: int, corpus_id: int) -> None:
    """Delete a corpus and its items; jobs and rankings over it stay. Drop its spaces before."""
    schedules.hold_runs(connection, tenant_id, schedule.c.corpus_id == corpus_id)
    connection.execute(
        delete(corpus).where(corpus.c.tenant_id == tenant_id, corpus.c.id == corpus_id)
    )


_PUT_ITEMS = text(
    """
    INSERT INTO item AS old (tenant_id, corpus_id, external_id, content_id, metadata)
    SELECT :tenant, :corpus, given.external_id, given.content_id, given.metadata::jsonb
    FROM unnest(CAST(:external_ids AS text[]), CAST(:content_ids AS bigint[]),
                CAST(:metadatas AS text[])) AS given (external_id, content_id, metadata)
    ORDER BY given.external_id
    ON CONFLICT (tenant_id, corpus_id, external_id) DO UPDATE
    SET content_id = excluded.content_id, metadata = excluded.metadata, updated_at = now()
    WHERE (old.content_id, old.metadata) IS DISTINCT FROM (excluded.content_id, excluded.metadata)
    RETURNING old.id
    """
)


def put_items(
    connection: Connection, tenant_id: int, corpus_id: int, items: Sequence[NewItem]
) -> list[int]:
    """Insert or change items by their external ids; give the ids of those that are new or changed.

    A changed item keeps its id. The external ids must be distinct.
    """
    rows = connection.execute(
        _PUT_ITEMS,
        {
            "tenant": tenant_id,
            "corpus": corpus_id,
            "external_ids": [one.external_id for one in items],
            "content_ids": [one.content_id for one in items],
            "metadatas": [json.dumps(one.metadata) for one in items],
        },
    )
    return [row.id for row in rows]


def get_item(
    connection: Connection, tenant_id: int, corpus_id: int, external_id: str
) -> Item | None:
    row = connection.execute(
        select(item).where(
            item.c.tenant_id == tenant_id,
            item.c.corpus_id == corpus_id,
            item.c.external_id == external_id,
        )
    ).first()
    return _item(row) if row else None


def list_items(
    connection: Connection, tenant_id: int, corpus_id: int, after: str, limit: int
) -> list[Item]:
    """Up to `limit` items in the order of their external ids, those past `after`."""
    rows = connection.execute(
        select(item)
        .where(
            item.c.tenant_id == tenant_id,
            item.c.corpus_id == corpus_id,
            item.c.external_id > after,
        )
        .order_by(item.c.external_id)
        .limit(limit)
    )
    return [_item(row) for row in rows]


def delete_items(
    connection: Connection, tenant_id: int, corpus_id: int, external_ids: Sequence[str]
) -> int:
    """Delete items (and so their vectors); give how many there were."""
    statement = delete(item).where(
        item.c.tenant_id == tenant_id,
        item.c.corpus_id == corpus_id,
        item.c.external_id.in_(list(external_ids)),
    )
    return connection.execute(statement).rowcount


def count_items(connection: Connection, tenant_id: int, corpus_id: int) -> int:
    statement = select(func.count()).where(
        item.c.tenant_id == tenant_id, item.c.corpus_id == corpus_id
    )
    return int(connection.execute(statement).scalar_one())


def _item(row: Row[Any]) -> Item:
    return Item(
        row.id, row.external_id, row.content_id, row.metadata, row.created_at, row.updated_at
    )
