"""Spaces: the vectors of one corpus under one encoder, each in a partition of its own.

A space is searched by its partition's name: exactly while it is small, and through an HNSW index
of its own once it has outgrown that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pgvector import HalfVector
from sqlalchemy import Connection, Row, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ProgrammingError

from repick.errors import NotFound
from repick.filters import Filter
from repick.store import filtering
from repick.tables import SpaceState, space

EXACT_MATCHES = 10_000
"""Where a filter leaves at most so many items they are compared one by one."""


@dataclass(frozen=True, slots=True)
class Space:
    tenant_id: int
    id: int
    corpus_id: int
    encoder_id: int
    dimension: int
    indexed: bool

    @property
    def partition(self) -> str:
        return f"embedding_s{self.id}"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An item that the coarse stage proposes, with its cosine to the query."""

    item_id: int
    external_id: str
    content_id: int
    cosine: float


class Search(StrEnum):
    EXACT = "exact"  # every item that matches was compared
    INDEX = "index"  # through the space's index, which may miss some


@dataclass(frozen=True, slots=True)
class Plan:
    """How a space is searched; `matching` counts a filter's items, up to EXACT_MATCHES + 1."""

    search: Search
    matching: int | None = None
    filter: Filter | None = None


@dataclass(frozen=True, slots=True)
class Filling:
    """How far the embedding of a space has come; failures by their codes."""

    embedded: int
    pending: int
    failed: dict[str, int]


def create(
    connection: Connection, tenant_id: int, corpus_id: int, encoder_id: int, dimension: int
) -> int:
    """Make a corpus's current space with its partition; the dimension is fixed by a CHECK."""
    statement = insert(space).values(
        tenant_id=tenant_id,
        corpus_id=corpus_id,
        encoder_id=encoder_id,
        dimension=dimension,
        state=SpaceState.CURRENT,
    )
    space_id = int(connection.execute(statement.returning(space.c.id)).scalar_one())
    name = f"embedding_s{space_id}"
    # Filled and then attached: attaching locks the parent less than CREATE … PARTITION OF does.
    for ddl in (
        f"CREATE TABLE {name} (LIKE embedding INCLUDING DEFAULTS,"
        f" CONSTRAINT {name}_dimension CHECK (vector_dims(vector) = {int(dimension)}),"
        f" CONSTRAINT {name}_space CHECK (space_id = {space_id}))",
        f"ALTER TABLE embedding ATTACH PARTITION {name} FOR VALUES IN ({space_id})",
    ):
        connection.execute(text(ddl))
    return space_id


def drop_of_corpus(connection: Connection, tenant_id: int, corpus_id: int) -> None:
    """Drop the partitions of a corpus's spaces; the space rows go with the corpus."""
    for one in of_corpus(connection, tenant_id, corpus_id):
        connection.execute(text(f"DROP TABLE {one.partition}"))


def of_corpus(connection: Connection, tenant_id: int, corpus_id: int) -> list[Space]:
    """The corpus's spaces that are searched or filling, the current one first."""
    rows = connection.execute(
        select(space)
        .where(
            space.c.tenant_id == tenant_id,
            space.c.corpus_id == corpus_id,
            space.c.state != SpaceState.RETIRED,
        )
        .order_by(space.c.state != SpaceState.CURRENT, space.c.id)
    )
    return [_space(row) for row in rows]


def by_id(connection: Connection, space_id: int) -> Space | None:
    row = connection.execute(select(space).where(space.c.id == space_id)).first()
    return _space(row) if row else None


def filling(connection: Connection, one: Space) -> Filling:
    embedded = connection.execute(text(f"SELECT count(*) FROM {one.partition}"))
    waiting = connection.execute(
        text(
            "SELECT error_code, count(*) AS n FROM pending_embedding"
            " WHERE tenant_id = :tenant AND space_id = :space GROUP BY error_code"
        ),
        {"tenant": one.tenant_id, "space": one.id},
    )
    counts = {row.error_code: int(row.n) for row in waiting}
    pending = counts.pop(None, 0)
    return Filling(int(embedded.scalar_one()), pending, counts)


def plan(connection: Connection, one: Space, filter: Filter | None) -> Plan:
    """How the space is searched under a filter, decided by counting the items that it leaves.

    Few are compared one by one, which is exact; many through the index, which then goes on until
    it has found enough of them.
    """
    if filter is None:
        return Plan(Search.INDEX if one.indexed else Search.EXACT)
    where = filtering.condition(filter)
    most = EXACT_MATCHES + 1 if one.indexed else None
    found = connection.execute(
        text(
            "SELECT count(*) FROM (SELECT FROM item i WHERE i.tenant_id = :tenant"
            f" AND i.corpus_id = :corpus AND {where.sql} LIMIT :most) bounded"
        ),
        {**where.binds, "tenant": one.tenant_id, "corpus": one.corpus_id, "most": most},
    )
    matching = int(found.scalar_one())
    through_index = one.indexed and matching > EXACT_MATCHES
    return Plan(Search.INDEX if through_index else Search.EXACT, matching, filter)


_NEAREST = """
    SELECT near.item_id, item.external_id, near.content_id, 1 - near.distance AS cosine FROM (
        SELECT e.item_id, e.content_id, {distance} AS distance FROM {partition} e
        WHERE {where} ORDER BY distance {tie} LIMIT :most
    ) near JOIN item ON item.tenant_id = :tenant AND item.id = near.item_id
    ORDER BY near.distance, near.item_id LIMIT :k
"""
_MATCHES = "(SELECT {condition} FROM item i WHERE i.tenant_id = :tenant AND i.id = e.item_id)"
"""Asked of each row that the index gives: no other order of joins can take its place."""

# Materialised before it is sorted, so that no index takes the place of comparing every match.
_AMONG_MATCHES = """
    WITH matching AS MATERIALIZED (
        SELECT e.item_id, i.external_id, e.content_id, {distance} AS distance
        FROM item i JOIN {partition} e
          ON e.tenant_id = i.tenant_id AND e.space_id = :space AND e.item_id = i.id
        WHERE i.tenant_id = :tenant AND i.corpus_id = :corpus AND {condition}
    )
    SELECT item_id, external_id, content_id, 1 - distance AS cosine FROM matching
    ORDER BY distance, item_id LIMIT :k
"""


def search(
    connection: Connection,
    one: Space,
    vector: Sequence[float],
    k: int,
    filter: Filter | None = None,
    planned: Plan | None = None,
) -> list[Neighbour]:
    """The k items nearest by cosine, ordered by (−cosine, item id); fewer where fewer are there.

    `planned` is what `plan` gave for the filter, for many queries that share it.
    """
    planned = planned or plan(connection, one, filter)
    where = filtering.condition(planned.filter)
    dimension = f"halfvec({one.dimension})"
    facts = {
        "partition": one.partition,
        "distance": f"e.vector::{dimension} <=> CAST(:query AS {dimension})",
        "condition": where.sql,
    }
    binds = {"query": HalfVector(list(vector)).to_text(), "k": k, "tenant": one.tenant_id}
    if planned.filter is not None and planned.search is Search.EXACT:
        statement = _AMONG_MATCHES.format(**facts)
        binds |= {"space": one.id, "corpus": one.corpus_id}
    else:
        matches = "true" if planned.filter is None else _MATCHES.format(**facts)
        # An index gives distances only; ties at the edge are settled where the scan is exact.
        tie = "" if one.indexed else ", e.item_id"
        statement = _NEAREST.format(**facts, where=matches, tie=tie)
        binds |= {"most": k if planned.filter is None else 2 * k}
    if planned.search is Search.INDEX:
        # Further where a filter throws away much of what the index gives.
        ef = min(1000, max(200, k if planned.filter is None else 4 * k))
        connection.execute(text(f"SET LOCAL hnsw.ef_search = {ef}"))
        connection.execute(text("SET LOCAL hnsw.iterative_scan = relaxed_order"))
    rows = connection.execute(text(statement), {**where.binds, **binds})
    return [
        Neighbour(row.item_id, row.external_id, row.content_id, float(row.cosine)) for row in rows
    ]


def outgrown(connection: Connection, rows: int) -> list[Space]:
    """Spaces with more vectors than `rows` that have no index yet (by Postgres's estimate)."""
    found = connection.execute(
        text(
            "SELECT space.* FROM space JOIN pg_class ON relname = 'embedding_s' || space.id"
            " WHERE indexed_at IS NULL AND state <> 'retired' AND reltuples > :rows"
        ),
        {"rows": rows},
    )
    return [_space(row) for row in found]


def build_index(connection: Connection, one: Space) -> None:
    """Build the space's HNSW index without blocking writers; needs an autocommit connection.

    Another process that builds the same one is left to it. Raises NotFound where the space is
    gone by now.
    """
    lock = {"key": f"repick.space.{one.id}"}
    mine = text("SELECT pg_try_advisory_lock(hashtextextended(:key, 0))")
    if not connection.execute(mine, lock).scalar_one():
        return
    try:
        _build(connection, one)
    except ProgrammingError as exc:
        raise NotFound("the space was deleted", code="space_deleted", space=one.id) from exc
    finally:
        connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:key, 0))"), lock)


def _build(connection: Connection, one: Space) -> None:
    name = f"{one.partition}_hnsw"
    connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))
    connection.execute(
        text(
            f"CREATE INDEX CONCURRENTLY {name} ON {one.partition} USING hnsw"
            f" ((vector::halfvec({one.dimension})) halfvec_cosine_ops)"
            " WITH (m = 24, ef_construction = 128)"
        )
    )
    connection.execute(text("UPDATE space SET indexed_at = now() WHERE id = :id"), {"id": one.id})


def _space(row: Row[Any]) -> Space:
    return Space(
        row.tenant_id,
        row.id,
        row.corpus_id,
        row.encoder_id,
        row.dimension,
        row.indexed_at is not None,
    )
