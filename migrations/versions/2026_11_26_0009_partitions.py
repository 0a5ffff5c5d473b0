"""job tables by weeks of the job's id, the ledger by hash

Revision: 2026_11_26_0009_partitions, after 2026_11_26_0008_backlog

The tables are written anew under one lock: do this while little is stored, or with the service
stopped. What hangs on them (keys, indexes, checks, triggers, the view) is taken over from the
catalogue as it is, so that nothing is said twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from alembic import op

revision = "2026_11_26_0009_partitions"
down_revision = "2026_11_26_0008_backlog"
branch_labels = None
depends_on = None

WEEK_S = 7 * 24 * 3600
AHEAD = 1
LEDGER_PARTS = 8
BY_JOB = {"job": "id", "job_query": "job_id", "candidate": "job_id", "slice": "job_id"}
BY_JOB |= {"ranking": "job_id"}
TABLES = (*BY_JOB, "pair_score")
VIEW = "ranking_hit"


class Hangs(NamedTuple):
    """Statements that give a new table what the old one had."""

    keys: list[str]
    foreign_keys: list[str]
    indexes: list[str]
    triggers: list[str]


def upgrade() -> None:
    weeks = list(_weeks(int(time.time()) // WEEK_S))
    clauses = {name: f"PARTITION BY RANGE ({column})" for name, column in BY_JOB.items()}
    clauses["pair_score"] = "PARTITION BY HASH (tenant_id, query_id)"
    parts = {name: [*_by_week(name, weeks), f"{name}_p_default DEFAULT"] for name in BY_JOB}
    parts["pair_score"] = [
        f"pair_score_p{no} FOR VALUES WITH (MODULUS {LEDGER_PARTS}, REMAINDER {no})"
        for no in range(LEDGER_PARTS)
    ]
    _rebuild(clauses, parts)


def downgrade() -> None:
    _rebuild(dict.fromkeys(TABLES, ""), {})


def _weeks(this: int) -> Iterator[int]:
    """From the oldest job's week on to some that are yet to come."""
    oldest = op.get_bind().execute(sa.text("SELECT id FROM job ORDER BY id LIMIT 1")).scalar()
    first = (oldest.int >> 80) // 1000 // WEEK_S if oldest else this
    # Ids that are no uuid7 of our time go to the default partition.
    yield from range(max(first, this - 520), this + AHEAD + 1)


def _by_week(table: str, weeks: list[int]) -> Iterator[str]:
    for week in weeks:
        name = datetime.fromtimestamp(week * WEEK_S, UTC).strftime("%Y%m%d")
        bounds = (UUID(int=(at * WEEK_S * 1000) << 80) for at in (week, week + 1))
        low, high = (f"'{one}'" for one in bounds)
        yield f"{table}_p{name} FOR VALUES FROM ({low}) TO ({high})"


def _rebuild(clauses: dict[str, str], parts: dict[str, list[str]]) -> None:
    bind = op.get_bind()
    op.execute(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE")
    view = bind.execute(sa.text(f"SELECT pg_get_viewdef('{VIEW}'::regclass)")).scalar_one()
    comment = bind.execute(sa.text(f"SELECT obj_description('{VIEW}'::regclass)")).scalar_one()
    hangs = {name: _hangs(name) for name in TABLES}
    op.execute(f"DROP VIEW {VIEW}")
    for name, clause in clauses.items():
        op.execute(f"ALTER TABLE {name} RENAME TO {name}_old")
        op.execute(
            f"CREATE TABLE {name} (LIKE {name}_old INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
            f" INCLUDING COMMENTS) {clause}"
        )
        for part in parts.get(name, ()):
            partition, values = part.split(" ", 1)
            op.execute(f"CREATE TABLE {partition} PARTITION OF {name} {values}")
        op.execute(f"INSERT INTO {name} SELECT * FROM {name}_old")
    for name in reversed(clauses):
        op.execute(f"DROP TABLE {name}_old CASCADE")
    for group in ("keys", "indexes", "foreign_keys", "triggers"):
        for name in TABLES:
            for statement in getattr(hangs[name], group):
                bind.exec_driver_sql(statement)
    op.execute(f"CREATE VIEW {VIEW} AS {view}")
    op.execute(sa.text(f"COMMENT ON VIEW {VIEW} IS '{comment.replace(chr(39), chr(39) * 2)}'"))


def _hangs(table: str) -> Hangs:
    constraints = (
        f"SELECT 'ALTER TABLE {table} ADD CONSTRAINT ' || quote_ident(c.conname) || ' '"
        f" || pg_get_constraintdef(c.oid) FROM pg_constraint c"
        f" WHERE c.conrelid = '{table}'::regclass AND c.contype = ANY(:kinds)"
        " AND c.conparentid = 0 ORDER BY c.conname"
    )
    indexes = (
        "SELECT replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ') FROM pg_index i"
        f" WHERE i.indrelid = '{table}'::regclass AND NOT EXISTS (SELECT FROM pg_constraint c"
        " WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u'))"
    )
    triggers = (
        f"SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = '{table}'::regclass"
        " AND NOT tgisinternal"
    )
    return Hangs(
        _texts(constraints, kinds=["p", "u"]),
        _texts(constraints, kinds=["f"]),
        _texts(indexes),
        _texts(triggers),
    )


def _texts(query: str, **bind: list[str]) -> list[str]:
    return list(op.get_bind().execute(sa.text(query), bind).scalars())
