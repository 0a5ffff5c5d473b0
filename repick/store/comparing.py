"""Two jobs read beside each other, query by query, and the summaries that are kept of them.

A run's queries are matched by the standing query's id; queries without one (any other job) by their
content, the first of each.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from repick.compare import Mover, Order, QueryDiff, Summary, Tally, diff
from repick.store import jobs
from repick.store.database import Database

PAGE = 500


@dataclass(frozen=True, slots=True)
class Compared:
    """A query of the newer job; `diff` is None where the older one has no ranking of it."""

    query_no: int
    query: str
    diff: QueryDiff | None


_SAME_STANDING = "oq.standing_query = q.standing_query"
_SAME_CONTENT = "oq.content_id = q.content_id"
_SIDES = """
    SELECT q.query_no, {name} AS query, {columns_of_both}
    FROM job_query q JOIN ranking r ON r.job_id = q.job_id AND r.query_no = q.query_no
    LEFT JOIN LATERAL (
        SELECT o.external_ids, o.scores, o.content_ids FROM job_query oq
        JOIN ranking o ON o.job_id = oq.job_id AND o.query_no = oq.query_no
        WHERE oq.job_id = :before AND oq.tenant_id = :tenant AND {same}
        ORDER BY oq.query_no LIMIT 1
    ) old ON true
    WHERE q.job_id = :after AND q.tenant_id = :tenant AND q.query_no > :past {only}
    ORDER BY q.query_no LIMIT :limit
"""
_COLUMNS = ", ".join(
    f"{side}.{column} AS {prefix}_{column}"
    for side, prefix in (("old", "old"), ("r", "new"))
    for column in ("external_ids", "scores", "content_ids")
)
_STANDING = text(
    _SIDES.format(
        name="q.standing_query",
        columns_of_both=_COLUMNS,
        same=_SAME_STANDING,
        only="AND q.standing_query IS NOT NULL",
    )
)
_OTHERS = text(
    _SIDES.format(
        name="q.query_no::text",
        columns_of_both=_COLUMNS,
        same=_SAME_CONTENT,
        only="",
    )
)


def page(
    connection: Connection, tenant_id: int, before: UUID, after: UUID, past: int, limit: int
) -> list[Compared]:
    """The newer job's ranked queries past query number `past`, each beside the older one's."""
    statement = _STANDING if _both_stand(connection, tenant_id, before, after) else _OTHERS
    rows = connection.execute(
        statement,
        {"tenant": tenant_id, "before": before, "after": after, "past": past, "limit": limit},
    )
    return [_compared(row) for row in rows]


def _both_stand(connection: Connection, tenant_id: int, before: UUID, after: UUID) -> bool:
    found = connection.execute(
        text(
            "SELECT bool_and(standing_query IS NOT NULL) FROM job_query"
            " WHERE tenant_id = :tenant AND job_id = ANY(:jobs) AND query_no = 0"
        ),
        {"tenant": tenant_id, "jobs": [before, after]},
    )
    return bool(found.scalar())


def _compared(row: Row[Any]) -> Compared:
    if row.old_external_ids is None:
        return Compared(row.query_no, row.query, None)
    old = Order(row.old_external_ids, row.old_scores, row.old_content_ids)
    new = Order(row.new_external_ids, row.new_scores, row.new_content_ids)
    return Compared(row.query_no, row.query, diff(row.query, old, new))


def every(
    database: Database, tenant_id: int, before: UUID, after: UUID, past: int = -1
) -> Iterator[Compared]:
    """All of them, read page by page, without a transaction that spans the reader's pauses.

    Raises Unavailable, and NotFound where one of the jobs was deleted meanwhile.
    """
    while True:
        with database.read() as connection:
            found = page(connection, tenant_id, before, after, past, PAGE)
            jobs.require(connection, tenant_id, before, after)
        yield from found
        if len(found) < PAGE:
            return
        past = found[-1].query_no


def summary(connection: Connection, tenant_id: int, before: UUID, after: UUID) -> Summary:
    """The kept summary, or one that is made now and kept. Both jobs have ended.

    Raises NotFound where none is kept and one of the jobs was deleted.
    """
    kept = _kept(connection, tenant_id, before, after)
    if kept is not None:
        return kept
    made = _made(connection, tenant_id, before, after)
    jobs.require(connection, tenant_id, before, after)
    connection.execute(
        text(
            "INSERT INTO comparison (tenant_id, after_id, before_id, summary)"
            " VALUES (:tenant, :after, :before, CAST(:summary AS jsonb)) ON CONFLICT DO NOTHING"
        ),
        {
            "tenant": tenant_id,
            "after": after,
            "before": before,
            "summary": json.dumps(dataclasses.asdict(made)),
        },
    )
    return made


def _kept(connection: Connection, tenant_id: int, before: UUID, after: UUID) -> Summary | None:
    found = connection.execute(
        text(
            "SELECT summary FROM comparison WHERE tenant_id = :tenant AND after_id = :after"
            " AND before_id = :before"
        ),
        {"tenant": tenant_id, "after": after, "before": before},
    ).scalar()
    return None if found is None else _summary(found)


def _summary(value: Mapping[str, Any]) -> Summary:
    return Summary(**{**value, "movers": [Mover(**one) for one in value["movers"]]})


def _made(connection: Connection, tenant_id: int, before: UUID, after: UUID) -> Summary:
    tally, past = Tally(), -1
    while found := page(connection, tenant_id, before, after, past, PAGE):
        past = found[-1].query_no
        for one in found:
            if one.diff is None:
                tally.only_after += 1
            else:
                tally.add(one.diff)
    tally.only_before = _only_before(connection, tenant_id, before, after)
    return tally.summary()


_ONLY_BEFORE = """
    SELECT count(*) FROM job_query q
    JOIN ranking r ON r.job_id = q.job_id AND r.query_no = q.query_no
    WHERE q.job_id = :before AND q.tenant_id = :tenant AND NOT EXISTS (
        SELECT FROM job_query oq
        JOIN ranking o ON o.job_id = oq.job_id AND o.query_no = oq.query_no
        WHERE oq.job_id = :after AND oq.tenant_id = :tenant AND {same})
"""


def _only_before(connection: Connection, tenant_id: int, before: UUID, after: UUID) -> int:
    """Ranked queries of the older job that the newer one has not ranked."""
    same = _SAME_STANDING if _both_stand(connection, tenant_id, before, after) else _SAME_CONTENT
    found = connection.execute(
        text(_ONLY_BEFORE.format(same=same)),
        {"tenant": tenant_id, "before": before, "after": after},
    )
    return int(found.scalar_one())
