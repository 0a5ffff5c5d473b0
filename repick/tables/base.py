"""What every table is made of."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import BigInteger, Column, DateTime, Enum, Identity, MetaData, func, text
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def enumeration(kind: type[StrEnum], name: str) -> Enum:
    """A Postgres enum with the values of its Python twin, read back as that twin."""
    return Enum(kind, name=name, values_callable=lambda members: [m.value for m in members])


def id_column() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), nullable=False)


def tenant_column() -> Column[int]:
    return Column("tenant_id", BigInteger, nullable=False)


def now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def moment(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True))


def json_column(name: str, default: str = "{}") -> Column[object]:
    return Column(name, JSONB, nullable=False, server_default=text(f"'{default}'::jsonb"))
