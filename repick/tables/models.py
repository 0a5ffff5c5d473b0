"""Encoders and scorers: the operator's, registered by the workers that serve them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

from repick.tables.base import id_column, json_column, metadata, now


def _model_columns() -> list[Column[object]]:
    return [
        Column("name", Text, nullable=False),
        Column("fingerprint", Text, nullable=False, unique=True),
        Column("queue", Text, nullable=False),
        Column("untrained", Boolean, nullable=False),
        Column("specification", JSONB, nullable=False),
        now("registered_at"),
        now("seen_at"),
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
    id_column(),
    Column("scorer_id", ForeignKey("scorer.id"), nullable=False),
    Column("method", Text, nullable=False),
    Column("map", JSONB, nullable=False),
    json_column("figures"),
    now("created_at"),
    PrimaryKeyConstraint("tenant_id", "id"),
    CheckConstraint("method IN ('isotonic', 'platt')", name="method"),
    Index("ix_calibration_scorer", "tenant_id", "scorer_id", "id"),
)
