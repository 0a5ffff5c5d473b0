"""Jobs, their queries, candidates and slices."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from repick.jobs import JobKind, JobState, SliceState, Stage
from repick.tables.base import enumeration, json_column, metadata, moment, now, tenant_column

FINAL_STATES = ", ".join(f"'{state}'" for state in JobState if state.final)

job = Table(
    "job",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("tenant_id", ForeignKey("tenant.id"), nullable=False),
    Column("kind", enumeration(JobKind, "job_kind"), nullable=False),
    Column("state", enumeration(JobState, "job_state"), nullable=False),
    Column("corpus_id", BigInteger),
    Column("corpus_name", Text),
    Column("space_id", BigInteger),
    Column("encoder_id", ForeignKey("encoder.id")),
    Column("scorer_id", ForeignKey("scorer.id"), nullable=False),
    Column("k", Integer, nullable=False),
    Column("top_n", Integer, nullable=False),
    Column("query_count", Integer, nullable=False),
    Column("slices_left", Integer, nullable=False),
    Column("pairs_total", BigInteger, nullable=False, server_default="0"),
    Column("pairs_done", BigInteger, nullable=False, server_default="0"),
    Column("pairs_reused", BigInteger, nullable=False, server_default="0"),
    Column("pairs_failed", BigInteger, nullable=False, server_default="0"),
    json_column("metadata"),
    Column("filter", JSONB(none_as_null=True)),
    Column("blend", Double, nullable=False, server_default="0"),
    Column("min_score", Double),
    moment("deadline"),
    moment("not_before"),
    Column("device_s", Double, nullable=False, server_default="0"),
    json_column("warnings", "[]"),
    Column("error", JSONB(none_as_null=True)),
    Column("trace", Text),
    now("created_at"),
    moment("started_at"),
    moment("finished_at"),
    PrimaryKeyConstraint("id", "tenant_id"),
    ForeignKeyConstraint(
        ["tenant_id", "corpus_id"],
        ["corpus.tenant_id", "corpus.id"],
        name="fk_job_corpus",
        ondelete="SET NULL (corpus_id)",
    ),
    CheckConstraint(f"(finished_at IS NOT NULL) = (state IN ({FINAL_STATES}))", name="finished"),
    CheckConstraint("(error IS NOT NULL) = (state = 'failed')", name="failed_says_why"),
    CheckConstraint("top_n BETWEEN 1 AND k", name="top_n"),
    CheckConstraint("blend BETWEEN 0 AND 1", name="blend"),
    CheckConstraint("min_score BETWEEN 0 AND 1", name="min_score"),
    CheckConstraint("slices_left >= 0", name="slices_left"),
    CheckConstraint("pairs_done BETWEEN 0 AND pairs_total", name="pairs_done"),
    Index("ix_job_tenant", "tenant_id", "id"),
    Index(
        "ix_job_live",
        "state",
        "id",
        postgresql_where=text(f"state NOT IN ({FINAL_STATES})"),
    ),
    Index("ix_job_corpus", "tenant_id", "corpus_id"),
    Index(
        "ix_job_backlog",
        "tenant_id",
        postgresql_include=["query_count", "k"],
        postgresql_where=text("finished_at IS NULL AND kind <> 'nightly'"),
    ),
    Index(
        "ix_job_metadata",
        "metadata",
        postgresql_using="gin",
        postgresql_ops={"metadata": "jsonb_path_ops"},
    ),
    Index(
        "ix_job_nightly",
        "tenant_id",
        "id",
        postgresql_where=text("kind = 'nightly' AND finished_at IS NULL"),
    ),
    Index("ix_job_deadline", "deadline", postgresql_where=text("finished_at IS NULL")),
    Index(
        "ix_job_cleared",
        "finished_at",
        postgresql_where=text("state = 'cancelled' OR deadline IS NOT NULL"),
    ),
    postgresql_partition_by="RANGE (id)",
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("tenant_id", ForeignKey("tenant.id", ondelete="CASCADE"), nullable=False),
    Column("key", Text, nullable=False),
    Column("body_sha256", LargeBinary, nullable=False),
    Column("job_id", Uuid, nullable=False),
    now("created_at"),
    PrimaryKeyConstraint("tenant_id", "key"),
    Index("ix_idempotency_created_at", "created_at"),
)


def of_job(name: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["job_id", "tenant_id"], ["job.id", "job.tenant_id"], name=name, ondelete="CASCADE"
    )


job_query = Table(
    "job_query",
    metadata,
    Column("job_id", Uuid, nullable=False),
    Column("query_no", Integer, nullable=False),
    tenant_column(),
    Column("content_id", BigInteger, nullable=False),
    Column("search", Text),
    Column("matching", BigInteger),
    Column("standing_query", Text),
    Column("error", JSONB(none_as_null=True)),
    PrimaryKeyConstraint("job_id", "query_no"),
    of_job("fk_job_query_job"),
    ForeignKeyConstraint(
        ["tenant_id", "content_id"],
        ["content.tenant_id", "content.id"],
        name="fk_job_query_content",
    ),
    Index("ix_job_query_content", "tenant_id", "content_id"),
    Index(
        "ix_job_query_standing",
        "job_id",
        "standing_query",
        postgresql_where=text("standing_query IS NOT NULL"),
    ),
    postgresql_partition_by="RANGE (job_id)",
)

candidate = Table(
    "candidate",
    metadata,
    Column("job_id", Uuid, nullable=False),
    Column("query_no", Integer, nullable=False),
    Column("coarse_rank", Integer, nullable=False),
    tenant_column(),
    Column("item_id", BigInteger, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("content_id", BigInteger),
    Column("coarse_score", Double),
    Column("pair_no", Integer),
    Column("error_code", Text),
    Column("retryable", Boolean, nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("job_id", "query_no", "coarse_rank"),
    # No foreign key: looking a partitioned table's row up costs ten times what this row does, and
    # whoever stores candidates holds a slice of their job, or has just made it.
    CheckConstraint("content_id IS NOT NULL OR error_code IS NOT NULL", name="content"),
    Index("ix_candidate_pair", "job_id", "pair_no"),
    postgresql_partition_by="RANGE (job_id)",
)

slice = Table(
    "slice",
    metadata,
    Column("job_id", Uuid, nullable=False),
    Column("stage", enumeration(Stage, "stage"), nullable=False),
    Column("no", Integer, nullable=False),
    tenant_column(),
    Column("first", Integer, nullable=False),
    Column("last", Integer, nullable=False),
    Column("queue", Text, nullable=False),
    Column("state", enumeration(SliceState, "slice_state"), nullable=False),
    Column("token", Uuid),
    Column("owner", Text),
    moment("lease_until"),
    Column("pairs_done", Integer, nullable=False, server_default="0"),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("publishes", SmallInteger, nullable=False, server_default="0"),
    now("publish_at"),
    Column("error_code", Text),
    PrimaryKeyConstraint("job_id", "stage", "no"),
    of_job("fk_slice_job"),
    CheckConstraint("first <= last", name="range"),
    CheckConstraint("(state = 'claimed') = (token IS NOT NULL)", name="token"),
    CheckConstraint("(state = 'claimed') = (lease_until IS NOT NULL)", name="lease"),
    CheckConstraint("state <> 'failed' OR error_code IS NOT NULL", name="failed_says_why"),
    Index(
        "ix_slice_publish",
        "publish_at",
        postgresql_where=text("state IN ('waiting', 'claimed')"),
    ),
    postgresql_partition_by="RANGE (job_id)",
)
