"""Standing queries, schedules and their runs."""

from __future__ import annotations

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Time,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from repick.schedules import MissedPolicy, RunState, Trigger, WindowPolicy
from repick.tables.base import (
    enumeration,
    id_column,
    json_column,
    metadata,
    moment,
    now,
    tenant_column,
)


def _of_corpus(name: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["tenant_id", "corpus_id"],
        ["corpus.tenant_id", "corpus.id"],
        name=name,
        ondelete="CASCADE",
    )


standing_query = Table(
    "standing_query",
    metadata,
    tenant_column(),
    Column("corpus_id", BigInteger, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("content_id", BigInteger, nullable=False),
    Column("tags", ARRAY(Text), nullable=False, server_default="{}"),
    json_column("metadata"),
    now("created_at"),
    now("updated_at"),
    PrimaryKeyConstraint("tenant_id", "corpus_id", "external_id"),
    _of_corpus("fk_standing_query_corpus"),
    ForeignKeyConstraint(
        ["tenant_id", "content_id"],
        ["content.tenant_id", "content.id"],
        name="fk_standing_query_content",
    ),
    Index("ix_standing_query_content", "tenant_id", "content_id"),
)

query_vector = Table(
    "query_vector",
    metadata,
    tenant_column(),
    Column("encoder_id", ForeignKey("encoder.id"), nullable=False),
    Column("content_id", BigInteger, nullable=False),
    Column("vector", HALFVEC, nullable=False),
    PrimaryKeyConstraint("tenant_id", "encoder_id", "content_id"),
    ForeignKeyConstraint(
        ["tenant_id", "content_id"],
        ["content.tenant_id", "content.id"],
        name="fk_query_vector_content",
        ondelete="CASCADE",
    ),
    Index("ix_query_vector_content", "tenant_id", "content_id"),
)

schedule = Table(
    "schedule",
    metadata,
    tenant_column(),
    id_column(),
    Column("name", Text, nullable=False),
    Column("corpus_id", BigInteger, nullable=False),
    Column("cron", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("missed", enumeration(MissedPolicy, "missed_policy"), nullable=False),
    Column("until", Time),
    Column("after_until", enumeration(WindowPolicy, "window_policy"), nullable=False),
    Column("scorer", Text),
    Column("k", Integer, nullable=False),
    Column("top_n", Integer, nullable=False),
    Column("filter", JSONB(none_as_null=True)),
    Column("blend", Double, nullable=False, server_default="0"),
    Column("min_score", Double),
    Column("tags", ARRAY(Text)),
    json_column("alarms"),
    json_column("metadata"),
    moment("paused_at"),
    moment("next_at"),
    Column("latest_run", Uuid),
    moment("latest_tick"),
    moment("latest_at"),
    now("created_at"),
    now("updated_at"),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "name"),
    _of_corpus("fk_schedule_corpus"),
    CheckConstraint("top_n BETWEEN 1 AND k", name="top_n"),
    CheckConstraint("blend BETWEEN 0 AND 1", name="blend"),
    CheckConstraint("min_score BETWEEN 0 AND 1", name="min_score"),
    CheckConstraint("num_nulls(latest_run, latest_tick, latest_at) IN (0, 3)", name="latest"),
    Index("ix_schedule_corpus", "tenant_id", "corpus_id"),
    Index("ix_schedule_next", "next_at", postgresql_where=text("paused_at IS NULL")),
)

# No foreign key to its job: what a run says of itself outlives the job's partition.
schedule_run = Table(
    "schedule_run",
    metadata,
    tenant_column(),
    Column("schedule_id", BigInteger, nullable=False),
    Column("tick", DateTime(timezone=True), nullable=False),
    Column("run_id", Uuid, nullable=False),
    Column("trigger", enumeration(Trigger, "run_trigger"), nullable=False),
    Column("state", enumeration(RunState, "run_state"), nullable=False),
    json_column("reasons", "[]"),
    json_column("figures"),
    now("created_at"),
    moment("window_until"),
    moment("settled_at"),
    moment("published_at"),
    moment("confirmed_at"),
    Column("confirmed_by", Text),
    PrimaryKeyConstraint("tenant_id", "schedule_id", "tick"),
    UniqueConstraint("tenant_id", "run_id"),
    ForeignKeyConstraint(
        ["tenant_id", "schedule_id"],
        ["schedule.tenant_id", "schedule.id"],
        name="fk_schedule_run_schedule",
        ondelete="CASCADE",
    ),
    CheckConstraint("(settled_at IS NULL) = (state = 'running')", name="settled"),
    CheckConstraint("(published_at IS NOT NULL) = (state = 'published')", name="published"),
    Index("ix_schedule_run_settled", "settled_at"),
    Index("ix_schedule_run_running", "created_at", postgresql_where=text("state = 'running'")),
)
