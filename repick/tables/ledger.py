"""The ledger of pair scores, and the rankings."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from repick.tables.base import json_column, metadata, now, tenant_column
from repick.tables.jobs import of_job

pair_score = Table(
    "pair_score",
    metadata,
    tenant_column(),
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
    now("created_at"),
    now("last_used_at"),
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
    tenant_column(),
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
    json_column("errors", "[]"),
    now("created_at"),
    PrimaryKeyConstraint("job_id", "query_no"),
    of_job("fk_ranking_job"),
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
