"""The schema as SQLAlchemy metadata.

Every row that belongs to a user carries `tenant_id`, and foreign keys between such rows include it,
so that row-level security can be turned on without a rewrite. The keys of job tables begin with the
job's id (a uuid7), by whose weeks they are partitioned (`repick/store/partitions.py`).
"""

from __future__ import annotations

from enum import StrEnum

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Time,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from repick.jobs import JobKind, JobState, SliceState, Stage
from repick.schedules import MissedPolicy, RunState, Trigger, WindowPolicy
from repick.webhooks.rules import DeliveryState

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class SpaceState(StrEnum):
    FILLING = "filling"  # a new encoder's vectors are being made beside the current ones
    CURRENT = "current"  # searched
    RETIRED = "retired"  # no longer searched; its partition may be dropped


def enumeration(kind: type[StrEnum], name: str) -> Enum:
    """A Postgres enum with the values of its Python twin, read back as that twin."""
    return Enum(kind, name=name, values_callable=lambda members: [m.value for m in members])


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), nullable=False)


def _tenant() -> Column[int]:
    return Column("tenant_id", BigInteger, nullable=False)


def _now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def _time(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True))


def _json(name: str, default: str = "{}") -> Column[object]:
    return Column(name, JSONB, nullable=False, server_default=text(f"'{default}'::jsonb"))


# --- who -----------------------------------------------------------------------------------------

tenant = Table(
    "tenant",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _now("created_at"),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_id", ForeignKey("tenant.id", ondelete="CASCADE"), nullable=False),
    Column("prefix", Text, nullable=False, unique=True),
    Column("sha256", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    _now("created_at"),
    _time("expires_at"),
    _time("revoked_at"),
)

# --- models: the operator's, registered by the workers that serve them ----------------------------


def _model_columns() -> list[Column[object]]:
    return [
        Column("name", Text, nullable=False),
        Column("fingerprint", Text, nullable=False, unique=True),
        Column("queue", Text, nullable=False),
        Column("untrained", Boolean, nullable=False),
        Column("specification", JSONB, nullable=False),
        _now("registered_at"),
        _now("seen_at"),
    ]


encoder = Table(
    "encoder",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("dimension", Integer, nullable=False),
    *_model_columns(),
    Index("ix_encoder_name", "name"),
)

scorer = Table(
    "scorer",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("readout", Text, nullable=False),
    *_model_columns(),
    Index("ix_scorer_name", "name"),
)

provenance = Table(
    "provenance",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("value", JSONB, nullable=False, unique=True),
)

calibration = Table(
    "calibration",
    metadata,
    Column("tenant_id", ForeignKey("tenant.id"), nullable=False),
    _id(),
    Column("scorer_id", ForeignKey("scorer.id"), nullable=False),
    Column("method", Text, nullable=False),
    Column("map", JSONB, nullable=False),
    _json("figures"),
    _now("created_at"),
    PrimaryKeyConstraint("tenant_id", "id"),
    CheckConstraint("method IN ('isotonic', 'platt')", name="method"),
    Index("ix_calibration_scorer", "tenant_id", "scorer_id", "id"),
)

# --- contents and corpora ------------------------------------------------------------------------

media = Table(
    "media",
    metadata,
    Column("tenant_id", ForeignKey("tenant.id"), nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("byte_length", BigInteger, nullable=False),
    _now("created_at"),
    PrimaryKeyConstraint("tenant_id", "sha256"),
    CheckConstraint("octet_length(sha256) = 32", name="sha256"),
)

content = Table(
    "content",
    metadata,
    Column("tenant_id", ForeignKey("tenant.id"), nullable=False),
    _id(),
    Column("sha256", LargeBinary, nullable=False),
    Column("text", Text),
    Column("media_sha256", LargeBinary),
    Column("instruction", Text),
    _now("created_at"),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "sha256"),
    ForeignKeyConstraint(
        ["tenant_id", "media_sha256"], ["media.tenant_id", "media.sha256"], name="fk_content_media"
    ),
    CheckConstraint("text IS NOT NULL OR media_sha256 IS NOT NULL", name="not_empty"),
    Index("ix_content_media", "tenant_id", "media_sha256"),
)

unused_content = Table(
    "unused_content",
    metadata,
    _tenant(),
    Column("content_id", BigInteger, nullable=False),
    _now("since"),
    PrimaryKeyConstraint("tenant_id", "content_id"),
    ForeignKeyConstraint(
        ["tenant_id", "content_id"],
        ["content.tenant_id", "content.id"],
        name="fk_unused_content_content",
        ondelete="CASCADE",
    ),
    Index("ix_unused_content_since", "since"),
)

corpus = Table(
    "corpus",
    metadata,
    Column("tenant_id", ForeignKey("tenant.id"), nullable=False),
    _id(),
    Column("name", Text, nullable=False),
    _now("created_at"),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "name"),
)

item = Table(
    "item",
    metadata,
    _tenant(),
    _id(),
    Column("corpus_id", BigInteger, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("content_id", BigInteger, nullable=False),
    _json("metadata"),
    _now("created_at"),
    _now("updated_at"),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "corpus_id", "external_id"),
    ForeignKeyConstraint(
        ["tenant_id", "corpus_id"],
        ["corpus.tenant_id", "corpus.id"],
        name="fk_item_corpus",
        ondelete="CASCADE",
    ),
    ForeignKeyConstraint(
        ["tenant_id", "content_id"], ["content.tenant_id", "content.id"], name="fk_item_content"
    ),
    Index("ix_item_content", "tenant_id", "content_id"),
    Index(
        "ix_item_metadata",
        "metadata",
        postgresql_using="gin",
        postgresql_ops={"metadata": "jsonb_path_ops"},
    ),
)

space = Table(
    "space",
    metadata,
    _tenant(),
    _id(),
    Column("corpus_id", BigInteger, nullable=False),
    Column("encoder_id", ForeignKey("encoder.id"), nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("state", enumeration(SpaceState, "space_state"), nullable=False),
    _time("indexed_at"),
    _now("created_at"),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "corpus_id", "encoder_id"),
    ForeignKeyConstraint(
        ["tenant_id", "corpus_id"],
        ["corpus.tenant_id", "corpus.id"],
        name="fk_space_corpus",
        ondelete="CASCADE",
    ),
    Index(
        "uq_space_current",
        "tenant_id",
        "corpus_id",
        unique=True,
        postgresql_where=text("state = 'current'"),
    ),
)

embedding = Table(
    "embedding",
    metadata,
    _tenant(),
    Column("space_id", BigInteger, nullable=False),
    Column("item_id", BigInteger, nullable=False),
    Column("content_id", BigInteger, nullable=False),
    Column("vector", HALFVEC, nullable=False),
    PrimaryKeyConstraint("tenant_id", "space_id", "item_id"),
    ForeignKeyConstraint(
        ["tenant_id", "item_id"],
        ["item.tenant_id", "item.id"],
        name="fk_embedding_item",
        ondelete="CASCADE",
    ),
    ForeignKeyConstraint(
        ["tenant_id", "space_id"], ["space.tenant_id", "space.id"], name="fk_embedding_space"
    ),
    Index("ix_embedding_item", "tenant_id", "item_id"),
    postgresql_partition_by="LIST (space_id)",
)

pending_embedding = Table(
    "pending_embedding",
    metadata,
    _tenant(),
    Column("space_id", BigInteger, nullable=False),
    Column("item_id", BigInteger, nullable=False),
    Column("content_id", BigInteger, nullable=False),
    Column("token", Uuid),
    _time("lease_until"),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("error_code", Text),
    Column("retryable", Boolean, nullable=False, server_default=text("false")),
    _time("retry_at"),
    PrimaryKeyConstraint("tenant_id", "space_id", "item_id"),
    ForeignKeyConstraint(
        ["tenant_id", "item_id"],
        ["item.tenant_id", "item.id"],
        name="fk_pending_embedding_item",
        ondelete="CASCADE",
    ),
    ForeignKeyConstraint(
        ["tenant_id", "space_id"],
        ["space.tenant_id", "space.id"],
        name="fk_pending_embedding_space",
        ondelete="CASCADE",
    ),
    CheckConstraint("(token IS NULL) = (lease_until IS NULL)", name="lease"),
    Index("ix_pending_embedding_item", "tenant_id", "item_id"),
    Index(
        "ix_pending_embedding_retry_at",
        "retry_at",
        postgresql_where=text("retry_at IS NOT NULL"),
    ),
    Index(
        "ix_pending_embedding_waiting",
        "space_id",
        "item_id",
        postgresql_where=text("error_code IS NULL"),
    ),
)

# --- jobs ----------------------------------------------------------------------------------------

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
    _json("metadata"),
    Column("filter", JSONB(none_as_null=True)),
    Column("blend", Double, nullable=False, server_default="0"),
    Column("min_score", Double),
    _time("deadline"),
    _time("not_before"),
    Column("device_s", Double, nullable=False, server_default="0"),
    _json("warnings", "[]"),
    Column("error", JSONB(none_as_null=True)),
    Column("trace", Text),
    _now("created_at"),
    _time("started_at"),
    _time("finished_at"),
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
    _now("created_at"),
    PrimaryKeyConstraint("tenant_id", "key"),
    Index("ix_idempotency_created_at", "created_at"),
)


def _of_job(name: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["job_id", "tenant_id"], ["job.id", "job.tenant_id"], name=name, ondelete="CASCADE"
    )


job_query = Table(
    "job_query",
    metadata,
    Column("job_id", Uuid, nullable=False),
    Column("query_no", Integer, nullable=False),
    _tenant(),
    Column("content_id", BigInteger, nullable=False),
    Column("search", Text),
    Column("matching", BigInteger),
    Column("standing_query", Text),
    Column("error", JSONB(none_as_null=True)),
    PrimaryKeyConstraint("job_id", "query_no"),
    _of_job("fk_job_query_job"),
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
    _tenant(),
    Column("item_id", BigInteger, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("content_id", BigInteger),
    Column("coarse_score", Double),
    Column("pair_no", Integer),
    Column("error_code", Text),
    Column("retryable", Boolean, nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("job_id", "query_no", "coarse_rank"),
    _of_job("fk_candidate_job"),
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
    _tenant(),
    Column("first", Integer, nullable=False),
    Column("last", Integer, nullable=False),
    Column("queue", Text, nullable=False),
    Column("state", enumeration(SliceState, "slice_state"), nullable=False),
    Column("token", Uuid),
    Column("owner", Text),
    _time("lease_until"),
    Column("pairs_done", Integer, nullable=False, server_default="0"),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("publishes", SmallInteger, nullable=False, server_default="0"),
    _now("publish_at"),
    Column("error_code", Text),
    PrimaryKeyConstraint("job_id", "stage", "no"),
    _of_job("fk_slice_job"),
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

# --- the ledger and the rankings -----------------------------------------------------------------

pair_score = Table(
    "pair_score",
    metadata,
    _tenant(),
    Column("query_id", BigInteger, nullable=False),
    Column("document_id", BigInteger, nullable=False),
    Column("scorer_id", ForeignKey("scorer.id"), nullable=False),
    Column("margin", Double),
    Column("score", Double, nullable=False),
    Column("label_mass", Double, nullable=False),
    Column("entropy", Double, nullable=False),
    Column("enhanced_at", ARRAY(SmallInteger), nullable=False),
    Column("label_logits", JSONB, nullable=False),
    Column("cut_tokens", Integer, nullable=False, server_default="0"),
    Column("provenance_id", ForeignKey("provenance.id"), nullable=False),
    _now("created_at"),
    _now("last_used_at"),
    PrimaryKeyConstraint("tenant_id", "query_id", "document_id", "scorer_id"),
    ForeignKeyConstraint(
        ["tenant_id", "query_id"], ["content.tenant_id", "content.id"], name="fk_pair_score_query"
    ),
    ForeignKeyConstraint(
        ["tenant_id", "document_id"],
        ["content.tenant_id", "content.id"],
        name="fk_pair_score_document",
    ),
    Index("ix_pair_score_document", "tenant_id", "document_id"),
    Index("ix_pair_score_last_used_at", "last_used_at"),
    postgresql_partition_by="HASH (tenant_id, query_id)",
)

ranking = Table(
    "ranking",
    metadata,
    Column("job_id", Uuid, nullable=False),
    Column("query_no", Integer, nullable=False),
    _tenant(),
    Column("scorer_id", ForeignKey("scorer.id"), nullable=False),
    Column("encoder_id", ForeignKey("encoder.id")),
    Column("untrained", Boolean, nullable=False),
    Column("asked", Integer, nullable=False),
    Column("found", Integer, nullable=False),
    Column("search", Text),
    Column("matching", BigInteger),
    Column("blend", Double, nullable=False, server_default="0"),
    Column("min_score", Double),
    Column("external_ids", ARRAY(Text), nullable=False),
    Column("content_ids", ARRAY(BigInteger), nullable=False),
    Column("scores", ARRAY(Double), nullable=False),
    Column("margins", ARRAY(Double), nullable=False),
    Column("label_masses", ARRAY(Double), nullable=False),
    Column("entropies", ARRAY(Double), nullable=False),
    Column("enhanced_at", ARRAY(SmallInteger), nullable=False),
    Column("coarse_ranks", ARRAY(Integer), nullable=False),
    Column("coarse_scores", ARRAY(Double), nullable=False),
    Column("cut_tokens", ARRAY(Integer)),
    _json("errors", "[]"),
    _now("created_at"),
    PrimaryKeyConstraint("job_id", "query_no"),
    _of_job("fk_ranking_job"),
    CheckConstraint(
        " AND ".join(
            f"cardinality({name}) = cardinality(external_ids)"
            for name in (
                "content_ids",
                "scores",
                "margins",
                "label_masses",
                "entropies",
                "enhanced_at",
                "coarse_ranks",
                "coarse_scores",
                "cut_tokens",
            )
        ),
        name="one_length",
    ),
    postgresql_partition_by="RANGE (job_id)",
)

# --- schedules -----------------------------------------------------------------------------------


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
    _tenant(),
    Column("corpus_id", BigInteger, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("content_id", BigInteger, nullable=False),
    Column("tags", ARRAY(Text), nullable=False, server_default="{}"),
    _json("metadata"),
    _now("created_at"),
    _now("updated_at"),
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
    _tenant(),
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
    _tenant(),
    _id(),
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
    _json("alarms"),
    _json("metadata"),
    _time("paused_at"),
    _time("next_at"),
    Column("latest_run", Uuid),
    _time("latest_tick"),
    _time("latest_at"),
    _now("created_at"),
    _now("updated_at"),
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
    _tenant(),
    Column("schedule_id", BigInteger, nullable=False),
    Column("tick", DateTime(timezone=True), nullable=False),
    Column("run_id", Uuid, nullable=False),
    Column("trigger", enumeration(Trigger, "run_trigger"), nullable=False),
    Column("state", enumeration(RunState, "run_state"), nullable=False),
    _json("reasons", "[]"),
    _json("figures"),
    _now("created_at"),
    _time("window_until"),
    _time("settled_at"),
    _time("published_at"),
    _time("confirmed_at"),
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

# --- comparisons and webhooks --------------------------------------------------------------------

# No foreign keys to its jobs: a summary outlives the rankings that it was made of.
comparison = Table(
    "comparison",
    metadata,
    Column("tenant_id", ForeignKey("tenant.id", ondelete="CASCADE"), nullable=False),
    Column("after_id", Uuid, nullable=False),
    Column("before_id", Uuid, nullable=False),
    Column("summary", JSONB, nullable=False),
    _now("created_at"),
    PrimaryKeyConstraint("tenant_id", "after_id", "before_id"),
)

webhook = Table(
    "webhook",
    metadata,
    Column("tenant_id", ForeignKey("tenant.id", ondelete="CASCADE"), nullable=False),
    _id(),
    Column("url", Text, nullable=False),
    Column("events", ARRAY(Text), nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("old_secret", LargeBinary),
    _time("old_secret_until"),
    _time("disabled_at"),
    Column("disabled_reason", Text),
    _now("created_at"),
    PrimaryKeyConstraint("tenant_id", "id"),
    CheckConstraint("octet_length(secret) = 32", name="secret"),
    CheckConstraint("cardinality(events) > 0", name="events"),
    CheckConstraint("(old_secret IS NULL) = (old_secret_until IS NULL)", name="old_secret"),
    CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="disabled"),
)

webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    _tenant(),
    Column("id", Uuid, nullable=False),
    Column("webhook_id", BigInteger, nullable=False),
    Column("event", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column(
        "state",
        enumeration(DeliveryState, "delivery_state"),
        nullable=False,
        server_default="waiting",
    ),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    _now("next_at"),
    Column("token", Uuid),
    Column("last_status", SmallInteger),
    Column("last_error", Text),
    _now("created_at"),
    _time("finished_at"),
    PrimaryKeyConstraint("tenant_id", "id"),
    ForeignKeyConstraint(
        ["tenant_id", "webhook_id"],
        ["webhook.tenant_id", "webhook.id"],
        name="fk_webhook_delivery_webhook",
        ondelete="CASCADE",
    ),
    CheckConstraint("(finished_at IS NOT NULL) = (state <> 'waiting')", name="finished"),
    Index("ix_webhook_delivery_waiting", "next_at", postgresql_where=text("state = 'waiting'")),
    Index("ix_webhook_delivery_webhook", "tenant_id", "webhook_id", "created_at", "id"),
    Index(
        "ix_webhook_delivery_finished", "finished_at", postgresql_where=text("state <> 'waiting'")
    ),
)
