"""Items of a space that have no vector yet, or never will: how many, which, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, text

from repick.jobs import MAX_ATTEMPTS


@dataclass(frozen=True, slots=True)
class WaitingSpace:
    space_id: int
    queue: str
    waiting: int


def tried(connection: Connection, space_id: int, encoder_fingerprint: str) -> bool:
    """Whether `claim` would find an item that was tried before."""
    statement = text(
        "SELECT EXISTS (SELECT FROM pending_embedding p"
        " JOIN space ON space.tenant_id = p.tenant_id AND space.id = p.space_id"
        " JOIN encoder ON encoder.id = space.encoder_id"
        " WHERE p.space_id = :space AND encoder.fingerprint = :fingerprint"
        " AND p.error_code IS NULL AND p.attempts BETWEEN 1 AND :most"
        " AND (p.token IS NULL OR p.lease_until < now()))"
    )
    bind = {
        "space": space_id,
        "fingerprint": encoder_fingerprint,
        "most": MAX_ATTEMPTS - 1,
    }
    return bool(connection.execute(statement, bind).scalar_one())


def failures(
    connection: Connection, tenant_id: int, space_id: int, limit: int
) -> list[tuple[str, str]]:
    """Items that have no vector, as (external id, code), in the order of their ids."""
    rows = connection.execute(
        text(
            "SELECT item.external_id, p.error_code FROM pending_embedding p"
            " JOIN item ON item.tenant_id = p.tenant_id AND item.id = p.item_id"
            " WHERE p.tenant_id = :tenant AND p.space_id = :space AND p.error_code IS NOT NULL"
            " ORDER BY p.item_id LIMIT :limit"
        ),
        {"tenant": tenant_id, "space": space_id, "limit": limit},
    )
    return [(row.external_id, row.error_code) for row in rows]


def pending(connection: Connection, space_id: int) -> int:
    """How many items of a space have neither a vector nor a reason why not."""
    statement = text(
        "SELECT count(*) FROM pending_embedding WHERE space_id = :space AND error_code IS NULL"
    )
    return int(connection.execute(statement, {"space": space_id}).scalar_one())


def coming(connection: Connection, space_id: int) -> int:
    """How many of them a batch may bring soon: nobody has tried them, or somebody has them."""
    statement = text(
        "SELECT count(*) FROM pending_embedding WHERE space_id = :space AND error_code IS NULL"
        " AND (attempts = 0 OR lease_until > now())"
    )
    return int(connection.execute(statement, {"space": space_id}).scalar_one())


def waiting(connection: Connection) -> Iterable[WaitingSpace]:
    """Spaces with items that nobody has, and the queue that serves each."""
    rows = connection.execute(
        text(
            "SELECT p.space_id, encoder.queue, count(*) AS waiting FROM pending_embedding p"
            " JOIN space ON space.tenant_id = p.tenant_id AND space.id = p.space_id"
            " JOIN encoder ON encoder.id = space.encoder_id"
            " WHERE p.error_code IS NULL AND (p.token IS NULL OR p.lease_until < now())"
            " GROUP BY p.space_id, encoder.queue"
        )
    )
    return [WaitingSpace(row.space_id, row.queue, row.waiting) for row in rows]
