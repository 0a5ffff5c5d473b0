"""Tenants and their keys."""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, Column, ForeignKey, Identity, LargeBinary, Table, Text

from repick.tables.base import metadata, moment, now

tenant = Table(
    "tenant",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    now("created_at"),
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
    now("created_at"),
    moment("expires_at"),
    moment("revoked_at"),
)
