"""Contents, and the corpora whose items they are."""

from __future__ import annotations

from enum import StrEnum

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from repick.tables.base import (
    enumeration,
    id_column,
    json_column,
    metadata,
    moment,
    now,
    tenant_column,
)


class SpaceState(StrEnum):
    FILLING = "filling"  # a new encoder's vectors are being made beside the current ones
    CURRENT = "current"  # searched
    RETIRED = "retired"  # no longer searched; its partition may be dropped


media = Table(
    "media",
    metadata,
    Column("tenant_id", ForeignKey("tenant.id"), nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("byte_length", BigInteger, nullable=False),
    now("created_at"),
    PrimaryKeyConstraint("tenant_id", "sha256"),
    CheckConstraint("octet_length(sha256) = 32", name="sha256"),
)

content = Table(
    "content",
    metadata,
    Column("tenant_id", ForeignKey("tenant.id"), nullable=False),
    id_column(),
    Column("sha256", LargeBinary, nullable=False),
    Column("text", Text),
    Column("media_sha256", LargeBinary),
    Column("instruction", Text),
    now("created_at"),
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
    tenant_column(),
    Column("content_id", BigInteger, nullable=False),
    now("since"),
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
    id_column(),
    Column("name", Text, nullable=False),
    now("created_at"),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "name"),
)

item = Table(
    "item",
    metadata,
    tenant_column(),
    id_column(),
    Column("corpus_id", BigInteger, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("content_id", BigInteger, nullable=False),
    json_column("metadata"),
    now("created_at"),
    now("updated_at"),
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
    tenant_column(),
    id_column(),
    Column("corpus_id", BigInteger, nullable=False),
    Column("encoder_id", ForeignKey("encoder.id"), nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("state", enumeration(SpaceState, "space_state"), nullable=False),
    moment("indexed_at"),
    now("created_at"),
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
    tenant_column(),
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
    tenant_column(),
    Column("space_id", BigInteger, nullable=False),
    Column("item_id", BigInteger, nullable=False),
    Column("content_id", BigInteger, nullable=False),
    Column("token", Uuid),
    moment("lease_until"),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("error_code", Text),
    Column("retryable", Boolean, nullable=False, server_default=text("false")),
    moment("retry_at"),
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
