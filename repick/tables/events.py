"""What is said of runs and jobs: comparisons, webhooks."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from repick.tables.base import enumeration, id_column, metadata, moment, now, tenant_column
from repick.webhooks.rules import DeliveryState

# No foreign keys to its jobs: a summary outlives the rankings that it was made of.
comparison = Table(
    "comparison",
    metadata,
    Column("tenant_id", ForeignKey("tenant.id", ondelete="CASCADE"), nullable=False),
    Column("after_id", Uuid, nullable=False),
    Column("before_id", Uuid, nullable=False),
    Column("summary", JSONB, nullable=False),
    now("created_at"),
    PrimaryKeyConstraint("tenant_id", "after_id", "before_id"),
)

webhook = Table(
    "webhook",
    metadata,
    Column("tenant_id", ForeignKey("tenant.id", ondelete="CASCADE"), nullable=False),
    id_column(),
    Column("url", Text, nullable=False),
    Column("events", ARRAY(Text), nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("old_secret", LargeBinary),
    moment("old_secret_until"),
    moment("disabled_at"),
    Column("disabled_reason", Text),
    now("created_at"),
    PrimaryKeyConstraint("tenant_id", "id"),
    CheckConstraint("octet_length(secret) = 32", name="secret"),
    CheckConstraint("cardinality(events) > 0", name="events"),
    CheckConstraint("(old_secret IS NULL) = (old_secret_until IS NULL)", name="old_secret"),
    CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="disabled"),
)

webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    tenant_column(),
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
    now("next_at"),
    Column("token", Uuid),
    Column("last_status", SmallInteger),
    Column("last_error", Text),
    now("created_at"),
    moment("finished_at"),
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
