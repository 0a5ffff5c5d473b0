"""Spaces: the vectors of one corpus under one encoder, each in a partition of its own.

A space is searched by its partition's name: exactly while it is small, and through an HNSW index
of its own once it has outgrown that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ProgrammingError

from repick.errors import NotFound
from repick.store.nearest import Neighbour as Neighbour
from repick.store.nearest import Plan as Plan
from repick.store.nearest import Search as Search
from repick.store.nearest import plan as plan
from repick.store.nearest import search as search
from repick.tables import SpaceState, space


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
    connection.execute(text("SELECT repick_add_partition(:space)"), {"space": space_id})
    return space_id


_BY_ID = select(space).where(space.c.id == bindparam("id"))
_OF_CORPUS = (
    select(space)
    .where(
        space.c.tenant_id == bindparam("tenant"),
        space.c.corpus_id == bindparam("corpus"),
        space.c.state != SpaceState.RETIRED,
    )
    .order_by(space.c.state != SpaceState.CURRENT, space.c.id)
)


def drop_of_corpus(connection: Connection, tenant_id: int, corpus_id: int) -> None:
    """Drop the partitions of a corpus's spaces; the space rows go with the corpus."""
    for one in of_corpus(connection, tenant_id, corpus_id):
        connection.execute(text("SELECT repick_drop_partition(:space)"), {"space": one.id})


def of_corpus(connection: Connection, tenant_id: int, corpus_id: int) -> list[Space]:
    """The corpus's spaces that are searched or filling, the current one first."""
    rows = connection.execute(_OF_CORPUS, {"tenant": tenant_id, "corpus": corpus_id})
    return [_space(row) for row in rows]


def by_id(connection: Connection, space_id: int) -> Space | None:
    row = connection.execute(_BY_ID, {"id": space_id}).first()
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
