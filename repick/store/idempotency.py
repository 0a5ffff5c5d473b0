"""Idempotency keys: the first request with a key makes the job, the others are given it.

A key is kept for a day after its first use; then it is as new.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from repick.tables import idempotency

KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier request with the same key asked for, and the job it made."""

    body_sha256: bytes
    job_id: UUID


def find(connection: Connection, tenant_id: int, key: str) -> Earlier | None:
    row = connection.execute(
        select(idempotency.c.body_sha256, idempotency.c.job_id).where(
            idempotency.c.tenant_id == tenant_id,
            idempotency.c.key == key,
            idempotency.c.created_at > func.now() - KEPT,
        )
    ).first()
    return Earlier(bytes(row.body_sha256), row.job_id) if row else None


def claim(
    connection: Connection, tenant_id: int, key: str, body_sha256: bytes, job_id: UUID
) -> Earlier | None:
    """Take the key for a job of this transaction; the earlier request where there was one.

    Waits for a concurrent transaction that holds the key: whichever commits first has it.
    """
    statement = (
        insert(idempotency)
        .values(tenant_id=tenant_id, key=key, body_sha256=body_sha256, job_id=job_id)
        .on_conflict_do_update(
            index_elements=["tenant_id", "key"],
            set_={"body_sha256": body_sha256, "job_id": job_id, "created_at": func.now()},
            where=idempotency.c.created_at <= func.now() - KEPT,
        )
        .returning(idempotency.c.job_id)
    )
    if connection.execute(statement).first() is not None:
        return None
    return find(connection, tenant_id, key)


def forget(connection: Connection) -> int:
    """Delete the keys that are kept no longer."""
    statement = delete(idempotency).where(idempotency.c.created_at <= func.now() - KEPT)
    return connection.execute(statement).rowcount
