"""The items of a space nearest to a query: one by one, or through the index of the space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection, text

from repick.filters import Filter
from repick.store import driver, filtering
from repick.store.database import EF_SEARCH, by_value
from repick.store.vectors import half

if TYPE_CHECKING:
    from repick.store.spaces import Space

EXACT_MATCHES = 20_000
"""Where a filter leaves at most so many items they are compared one by one."""


class Neighbour(NamedTuple):
    """An item that the coarse stage proposes, with its cosine to the query.

    A tuple: a search makes hundreds, and a frozen dataclass takes several times as long to make.
    """

    item_id: int
    external_id: str
    content_id: int
    cosine: float


class Search(StrEnum):
    EXACT = "exact"  # every item that matches was compared
    INDEX = "index"  # through the space's index, which may miss some


@dataclass(frozen=True, slots=True)
class Plan:
    """How a space is searched.

    `matching` counts a filter's items, up to EXACT_MATCHES + 1; `among` are their ids where they
    are compared one by one: found once, for all queries that share the plan.
    """

    search: Search
    matching: int | None = None
    filter: Filter | None = None
    among: Sequence[int] | None = None


def plan(connection: Connection, one: Space, filter: Filter | None) -> Plan:
    """How the space is searched under a filter, decided by the items that it leaves.

    Few are compared one by one, which is exact; many through the index, which then goes on until
    it has found enough of them.
    """
    if filter is None:
        return Plan(Search.INDEX if one.indexed else Search.EXACT)
    where = filtering.condition(filter)
    by_value(connection)
    found = connection.execute(
        text(
            "SELECT i.id FROM item i WHERE i.tenant_id = :tenant AND i.corpus_id = :corpus"
            f" AND {where.sql} LIMIT :most"
        ),
        {
            **where.binds,
            "tenant": one.tenant_id,
            "corpus": one.corpus_id,
            "most": EXACT_MATCHES + 1 if one.indexed else None,
        },
    )
    ids = found.scalars().all()
    if one.indexed and len(ids) > EXACT_MATCHES:
        return Plan(Search.INDEX, len(ids), filter)
    return Plan(Search.EXACT, len(ids), filter, ids)


_NEAREST = """
    SELECT near.item_id, item.external_id, near.content_id, 1 - near.distance AS cosine FROM (
        SELECT e.item_id, e.content_id, {distance} AS distance FROM {partition} e
        WHERE {where} ORDER BY distance {tie} LIMIT {most}
    ) near JOIN item ON item.tenant_id = :tenant AND item.id = near.item_id
    ORDER BY near.distance, near.item_id LIMIT :k
"""
_MATCHES = "(SELECT {condition} FROM item i WHERE i.tenant_id = :tenant AND i.id = e.item_id)"
"""Asked of each row that the index gives: no other order of joins can take its place."""

# Materialised before it is sorted, so that no index takes the place of comparing every match.
_AMONG = """
    WITH matching AS MATERIALIZED (
        SELECT e.item_id, e.content_id, {distance} AS distance FROM {partition} e
        WHERE e.tenant_id = :tenant AND e.space_id = :space
          AND e.item_id = ANY(CAST(:among AS bigint[]))
    ), near AS (SELECT * FROM matching ORDER BY distance, item_id LIMIT {most})
    SELECT near.item_id, item.external_id, near.content_id, 1 - near.distance AS cosine
    FROM near JOIN item ON item.tenant_id = :tenant AND item.id = near.item_id
    ORDER BY near.distance, near.item_id
"""


@lru_cache(maxsize=256)
def _text(statement: str) -> str:
    """Parsed once for each partition and form of search, not for each query."""
    return driver.text_of(text(statement))


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
    binds = {"query": half(vector), "k": k, "tenant": one.tenant_id}
    if planned.among is not None:
        statement = _AMONG.format(**facts, most=int(k))
        binds |= {"space": one.id, "among": planned.among}
    else:
        matches = "true" if planned.filter is None else _MATCHES.format(**facts)
        # An index gives distances only; ties at the edge are settled where the scan is exact.
        tie = "" if one.indexed else ", e.item_id"
        # A number, not a parameter: the planner must see how few rows are joined to items.
        most = int(k if planned.filter is None else 2 * k)
        statement = _NEAREST.format(**facts, where=matches, tie=tie, most=most)
    if planned.search is Search.INDEX:
        # Further where a filter throws away much of what the index gives.
        ef = min(1000, k if planned.filter is None else 4 * k)
        if ef > EF_SEARCH:
            connection.execute(text(f"SET LOCAL hnsw.ef_search = {ef}"))
    return driver.rows(
        connection, _text(statement), {**where.binds, **binds}, Neighbour._make, binary=True
    )
