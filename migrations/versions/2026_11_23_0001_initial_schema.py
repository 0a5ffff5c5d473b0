"""initial schema

Revision: 2026_11_23_0001, after
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects import postgresql

revision = "2026_11_23_0001"
down_revision = None
branch_labels = None
depends_on = None

ENUMS = ("job_kind", "job_state", "slice_state", "stage", "space_state")

# A row of these tables never changes once written; a score may only be marked as used again.
FROZEN = {
    "media": "",
    "content": "",
    "ranking": "",
    "pair_score": " OF tenant_id, query_id, document_id, scorer_id, margin, score, label_mass,"
    " entropy, enhanced_at, label_logits, provenance_id, created_at",
}

REFUSE_UPDATE = """
CREATE FUNCTION repick_refuse_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are immutable', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$
"""

RANKING_HIT = """
CREATE VIEW ranking_hit AS
SELECT r.tenant_id, r.job_id, r.query_no, hit.rank::integer AS rank, hit.external_id,
       hit.content_id, hit.score, hit.margin, hit.label_mass, hit.entropy, hit.enhanced_at,
       hit.coarse_rank, hit.coarse_score, r.scorer_id, r.encoder_id, r.untrained, r.created_at
FROM ranking r
CROSS JOIN LATERAL unnest(
    r.external_ids, r.content_ids, r.scores, r.margins, r.label_masses, r.entropies,
    r.enhanced_at, r.coarse_ranks, r.coarse_scores
) WITH ORDINALITY AS hit (
    external_id, content_id, score, margin, label_mass, entropy,
    enhanced_at, coarse_rank, coarse_score, rank
)
"""

RANKING_HIT_COMMENT = (
    "One row a hit: rank counts from 1; enhanced_at is the first decoder layer at which visual"
    " enhancement fired, null where it did not; coarse_rank and coarse_score come from the coarse stage."
)


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.create_table(
        "encoder",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("untrained", sa.Boolean(), nullable=False),
        sa.Column("specification", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "registered_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_encoder")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_encoder_fingerprint")),
    )
    op.create_index("ix_encoder_name", "encoder", ["name"], unique=False)
    op.create_table(
        "provenance",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provenance")),
        sa.UniqueConstraint("value", name=op.f("uq_provenance_value")),
    )
    op.create_table(
        "scorer",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("readout", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("untrained", sa.Boolean(), nullable=False),
        sa.Column("specification", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "registered_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scorer")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_scorer_fingerprint")),
    )
    op.create_index("ix_scorer_name", "scorer", ["name"], unique=False)
    op.create_table(
        "tenant",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant")),
        sa.UniqueConstraint("name", name=op.f("uq_tenant_name")),
    )
    op.create_table(
        "api_key",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_api_key_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_key_prefix")),
    )
    op.create_table(
        "corpus",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_corpus_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_corpus")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_corpus_tenant_id_name")),
    )
    op.create_table(
        "idempotency",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_idempotency_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_idempotency")),
    )
    op.create_table(
        "media",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("byte_length", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("ck_media_sha256")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_media_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "sha256", name=op.f("pk_media")),
    )
    op.create_table(
        "content",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("media_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("instruction", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "text IS NOT NULL OR media_sha256 IS NOT NULL", name=op.f("ck_content_not_empty")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "media_sha256"],
            ["media.tenant_id", "media.sha256"],
            name="fk_content_media",
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_content_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_content")),
        sa.UniqueConstraint("tenant_id", "sha256", name=op.f("uq_content_tenant_id_sha256")),
    )
    op.create_index("ix_content_media", "content", ["tenant_id", "media_sha256"], unique=False)
    op.create_table(
        "job",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "kind", sa.Enum("interactive", "batch", "nightly", name="job_kind"), nullable=False
        ),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "retrieving",
                "scoring",
                "ranking",
                "succeeded",
                "partial",
                "failed",
                "cancelled",
                name="job_state",
            ),
            nullable=False,
        ),
        sa.Column("corpus_id", sa.BigInteger(), nullable=True),
        sa.Column("corpus_name", sa.Text(), nullable=True),
        sa.Column("space_id", sa.BigInteger(), nullable=True),
        sa.Column("encoder_id", sa.BigInteger(), nullable=True),
        sa.Column("scorer_id", sa.BigInteger(), nullable=False),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("top_n", sa.Integer(), nullable=False),
        sa.Column("query_count", sa.Integer(), nullable=False),
        sa.Column("slices_left", sa.Integer(), nullable=False),
        sa.Column("pairs_total", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("pairs_done", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("pairs_reused", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("pairs_failed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "metadata",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column(
            "warnings",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'::jsonb"),
            nullable=False,
        ),
        sa.Column(
            "error", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("trace", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(error IS NOT NULL) = (state = 'failed')", name=op.f("ck_job_failed_says_why")
        ),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (state IN ('succeeded', 'partial', 'failed', 'cancelled'))",
            name=op.f("ck_job_finished"),
        ),
        sa.CheckConstraint("pairs_done BETWEEN 0 AND pairs_total", name=op.f("ck_job_pairs_done")),
        sa.CheckConstraint("slices_left >= 0", name=op.f("ck_job_slices_left")),
        sa.CheckConstraint("top_n BETWEEN 1 AND k", name=op.f("ck_job_top_n")),
        sa.ForeignKeyConstraint(["encoder_id"], ["encoder.id"], name=op.f("fk_job_encoder_id")),
        sa.ForeignKeyConstraint(["scorer_id"], ["scorer.id"], name=op.f("fk_job_scorer_id")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "corpus_id"],
            ["corpus.tenant_id", "corpus.id"],
            name="fk_job_corpus",
            ondelete="SET NULL (corpus_id)",
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_job_tenant_id")),
        sa.PrimaryKeyConstraint("id", "tenant_id", name=op.f("pk_job")),
    )
    op.create_index(
        "ix_job_cancelled",
        "job",
        ["finished_at"],
        unique=False,
        postgresql_where=sa.text("state = 'cancelled'"),
    )
    op.create_index("ix_job_corpus", "job", ["tenant_id", "corpus_id"], unique=False)
    op.create_index(
        "ix_job_live",
        "job",
        ["state", "id"],
        unique=False,
        postgresql_where=sa.text("state NOT IN ('succeeded', 'partial', 'failed', 'cancelled')"),
    )
    op.create_index("ix_job_tenant", "job", ["tenant_id", "id"], unique=False)
    op.create_table(
        "space",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("corpus_id", sa.BigInteger(), nullable=False),
        sa.Column("encoder_id", sa.BigInteger(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column(
            "state", sa.Enum("filling", "current", "retired", name="space_state"), nullable=False
        ),
        sa.Column("indexed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["encoder_id"], ["encoder.id"], name=op.f("fk_space_encoder_id")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "corpus_id"],
            ["corpus.tenant_id", "corpus.id"],
            name="fk_space_corpus",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_space")),
        sa.UniqueConstraint(
            "tenant_id",
            "corpus_id",
            "encoder_id",
            name=op.f("uq_space_tenant_id_corpus_id_encoder_id"),
        ),
    )
    op.create_index(
        "uq_space_current",
        "space",
        ["tenant_id", "corpus_id"],
        unique=True,
        postgresql_where=sa.text("state = 'current'"),
    )
    op.create_table(
        "candidate",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("query_no", sa.Integer(), nullable=False),
        sa.Column("coarse_rank", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("content_id", sa.BigInteger(), nullable=False),
        sa.Column("coarse_score", sa.Double(), nullable=True),
        sa.Column("pair_no", sa.Integer(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("retryable", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id", "tenant_id"],
            ["job.id", "job.tenant_id"],
            name="fk_candidate_job",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("job_id", "query_no", "coarse_rank", name=op.f("pk_candidate")),
    )
    op.create_index("ix_candidate_pair", "candidate", ["job_id", "pair_no"], unique=False)
    op.create_table(
        "item",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("corpus_id", sa.BigInteger(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("content_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "metadata",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "content_id"], ["content.tenant_id", "content.id"], name="fk_item_content"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "corpus_id"],
            ["corpus.tenant_id", "corpus.id"],
            name="fk_item_corpus",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_item")),
        sa.UniqueConstraint(
            "tenant_id",
            "corpus_id",
            "external_id",
            name=op.f("uq_item_tenant_id_corpus_id_external_id"),
        ),
    )
    op.create_index("ix_item_content", "item", ["tenant_id", "content_id"], unique=False)
    op.create_table(
        "job_query",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("query_no", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("content_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "error", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.ForeignKeyConstraint(
            ["job_id", "tenant_id"],
            ["job.id", "job.tenant_id"],
            name="fk_job_query_job",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "content_id"],
            ["content.tenant_id", "content.id"],
            name="fk_job_query_content",
        ),
        sa.PrimaryKeyConstraint("job_id", "query_no", name=op.f("pk_job_query")),
    )
    op.create_index("ix_job_query_content", "job_query", ["tenant_id", "content_id"], unique=False)
    op.create_table(
        "pair_score",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("query_id", sa.BigInteger(), nullable=False),
        sa.Column("document_id", sa.BigInteger(), nullable=False),
        sa.Column("scorer_id", sa.BigInteger(), nullable=False),
        sa.Column("margin", sa.Double(), nullable=True),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("label_mass", sa.Double(), nullable=False),
        sa.Column("entropy", sa.Double(), nullable=False),
        sa.Column("enhanced_at", sa.ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("label_logits", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("provenance_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "last_used_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["provenance_id"], ["provenance.id"], name=op.f("fk_pair_score_provenance_id")
        ),
        sa.ForeignKeyConstraint(["scorer_id"], ["scorer.id"], name=op.f("fk_pair_score_scorer_id")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "document_id"],
            ["content.tenant_id", "content.id"],
            name="fk_pair_score_document",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "query_id"],
            ["content.tenant_id", "content.id"],
            name="fk_pair_score_query",
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "query_id", "document_id", "scorer_id", name=op.f("pk_pair_score")
        ),
    )
    op.create_index(
        "ix_pair_score_document", "pair_score", ["tenant_id", "document_id"], unique=False
    )
    op.create_table(
        "ranking",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("query_no", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("scorer_id", sa.BigInteger(), nullable=False),
        sa.Column("encoder_id", sa.BigInteger(), nullable=True),
        sa.Column("untrained", sa.Boolean(), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("found", sa.Integer(), nullable=False),
        sa.Column("external_ids", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("content_ids", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("scores", sa.ARRAY(sa.Double()), nullable=False),
        sa.Column("margins", sa.ARRAY(sa.Double()), nullable=False),
        sa.Column("label_masses", sa.ARRAY(sa.Double()), nullable=False),
        sa.Column("entropies", sa.ARRAY(sa.Double()), nullable=False),
        sa.Column("enhanced_at", sa.ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("coarse_ranks", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("coarse_scores", sa.ARRAY(sa.Double()), nullable=False),
        sa.Column(
            "errors",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'::jsonb"),
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "cardinality(content_ids) = cardinality(external_ids) AND cardinality(scores) = cardinality(external_ids) AND cardinality(margins) = cardinality(external_ids) AND cardinality(label_masses) = cardinality(external_ids) AND cardinality(entropies) = cardinality(external_ids) AND cardinality(enhanced_at) = cardinality(external_ids) AND cardinality(coarse_ranks) = cardinality(external_ids) AND cardinality(coarse_scores) = cardinality(external_ids)",
            name=op.f("ck_ranking_one_length"),
        ),
        sa.ForeignKeyConstraint(["encoder_id"], ["encoder.id"], name=op.f("fk_ranking_encoder_id")),
        sa.ForeignKeyConstraint(
            ["job_id", "tenant_id"],
            ["job.id", "job.tenant_id"],
            name="fk_ranking_job",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["scorer_id"], ["scorer.id"], name=op.f("fk_ranking_scorer_id")),
        sa.PrimaryKeyConstraint("job_id", "query_no", name=op.f("pk_ranking")),
    )
    op.create_table(
        "slice",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("stage", sa.Enum("retrieve", "score", "rank", name="stage"), nullable=False),
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column(
            "state",
            sa.Enum("waiting", "claimed", "done", "failed", name="slice_state"),
            nullable=False,
        ),
        sa.Column("token", sa.Uuid(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pairs_done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("publishes", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column(
            "publish_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state = 'claimed') = (lease_until IS NOT NULL)", name=op.f("ck_slice_lease")
        ),
        sa.CheckConstraint(
            "(state = 'claimed') = (token IS NOT NULL)", name=op.f("ck_slice_token")
        ),
        sa.CheckConstraint(
            "state <> 'failed' OR error_code IS NOT NULL", name=op.f("ck_slice_failed_says_why")
        ),
        sa.CheckConstraint("first <= last", name=op.f("ck_slice_range")),
        sa.ForeignKeyConstraint(
            ["job_id", "tenant_id"],
            ["job.id", "job.tenant_id"],
            name="fk_slice_job",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("job_id", "stage", "no", name=op.f("pk_slice")),
    )
    op.create_index(
        "ix_slice_publish",
        "slice",
        ["publish_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('waiting', 'claimed')"),
    )
    op.create_table(
        "embedding",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("space_id", sa.BigInteger(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.Column("content_id", sa.BigInteger(), nullable=False),
        sa.Column("vector", HALFVEC(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "item_id"],
            ["item.tenant_id", "item.id"],
            name="fk_embedding_item",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "space_id"], ["space.tenant_id", "space.id"], name="fk_embedding_space"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "space_id", "item_id", name=op.f("pk_embedding")),
        postgresql_partition_by="LIST (space_id)",
    )
    op.create_index("ix_embedding_item", "embedding", ["tenant_id", "item_id"], unique=False)
    op.create_table(
        "pending_embedding",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("space_id", sa.BigInteger(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.Column("content_id", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("retryable", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint(
            "(token IS NULL) = (lease_until IS NULL)", name=op.f("ck_pending_embedding_lease")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "item_id"],
            ["item.tenant_id", "item.id"],
            name="fk_pending_embedding_item",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "space_id"],
            ["space.tenant_id", "space.id"],
            name="fk_pending_embedding_space",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "space_id", "item_id", name=op.f("pk_pending_embedding")
        ),
    )
    op.create_index(
        "ix_pending_embedding_item", "pending_embedding", ["tenant_id", "item_id"], unique=False
    )
    op.execute(REFUSE_UPDATE)
    for table, columns in FROZEN.items():
        op.execute(
            f"CREATE TRIGGER {table}_is_immutable BEFORE UPDATE{columns} ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION repick_refuse_update()"
        )
    op.execute(RANKING_HIT)
    op.execute(f"COMMENT ON VIEW ranking_hit IS '{RANKING_HIT_COMMENT}'")


def downgrade() -> None:
    op.execute("DROP VIEW ranking_hit")
    op.drop_index("ix_pending_embedding_item", table_name="pending_embedding")
    op.drop_table("pending_embedding")
    op.drop_index("ix_embedding_item", table_name="embedding")
    op.drop_table("embedding")
    op.drop_index(
        "ix_slice_publish",
        table_name="slice",
        postgresql_where=sa.text("state IN ('waiting', 'claimed')"),
    )
    op.drop_table("slice")
    op.drop_table("ranking")
    op.drop_index("ix_pair_score_document", table_name="pair_score")
    op.drop_table("pair_score")
    op.drop_index("ix_job_query_content", table_name="job_query")
    op.drop_table("job_query")
    op.drop_index("ix_item_content", table_name="item")
    op.drop_table("item")
    op.drop_index("ix_candidate_pair", table_name="candidate")
    op.drop_table("candidate")
    op.drop_index(
        "uq_space_current", table_name="space", postgresql_where=sa.text("state = 'current'")
    )
    op.drop_table("space")
    op.drop_index("ix_job_tenant", table_name="job")
    op.drop_index(
        "ix_job_live",
        table_name="job",
        postgresql_where=sa.text("state NOT IN ('succeeded', 'partial', 'failed', 'cancelled')"),
    )
    op.drop_index("ix_job_corpus", table_name="job")
    op.drop_index(
        "ix_job_cancelled", table_name="job", postgresql_where=sa.text("state = 'cancelled'")
    )
    op.drop_table("job")
    op.drop_index("ix_content_media", table_name="content")
    op.drop_table("content")
    op.drop_table("media")
    op.drop_table("idempotency")
    op.drop_table("corpus")
    op.drop_table("api_key")
    op.drop_table("tenant")
    op.drop_index("ix_scorer_name", table_name="scorer")
    op.drop_table("scorer")
    op.drop_table("provenance")
    op.drop_index("ix_encoder_name", table_name="encoder")
    op.drop_table("encoder")
    op.execute("DROP FUNCTION repick_refuse_update()")
    for name in ENUMS:
        op.execute(f"DROP TYPE {name}")
