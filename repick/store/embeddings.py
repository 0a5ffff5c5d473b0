"""The embedding of items: what waits, who has it, and what came of it.

An item waits in `pending_embedding` until its vector is committed, so that embedding can stop and
go on anywhere; what failed stays there with its reason until the item changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from repick.errors import ContentError
from repick.jobs import MAX_ATTEMPTS
from repick.store.vectors import halves

RETRY_AFTER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class EmbedBatch:
    """Items that one worker has claimed, as (item id, content id)."""

    tenant_id: int
    space_id: int
    token: UUID
    items: tuple[tuple[int, int], ...]


def enqueue(connection: Connection, tenant_id: int, space_id: int, item_ids: Sequence[int]) -> int:
    """Make items wait whose vector in the space is missing or of another content; give how many."""
    bind = {"tenant": tenant_id, "space": space_id, "items": list(item_ids)}
    connection.execute(
        text(
            "DELETE FROM embedding e USING item i WHERE e.tenant_id = :tenant"
            " AND e.space_id = :space AND e.item_id = ANY(:items) AND i.tenant_id = e.tenant_id"
            " AND i.id = e.item_id AND i.content_id <> e.content_id"
        ),
        bind,
    )
    return connection.execute(
        text(
            "INSERT INTO pending_embedding (tenant_id, space_id, item_id, content_id)"
            " SELECT :tenant, :space, found.id, found.content_id"
            # Each by itself, as in `contents.put`.
            " FROM unnest(CAST(:items AS bigint[])) AS given (id)"
            " CROSS JOIN LATERAL (SELECT i.id, i.content_id FROM item i"
            " WHERE i.tenant_id = :tenant AND i.id = given.id AND NOT EXISTS"
            " (SELECT FROM embedding e WHERE e.tenant_id = i.tenant_id AND e.space_id = :space"
            " AND e.item_id = i.id) OFFSET 0) AS found ORDER BY found.id"
            " ON CONFLICT (tenant_id, space_id, item_id) DO UPDATE SET content_id ="
            " excluded.content_id, token = NULL, lease_until = NULL, attempts = 0,"
            " error_code = NULL, retry_at = NULL"
            " WHERE pending_embedding.content_id <> excluded.content_id"
        ),
        bind,
    ).rowcount


_CLAIM = text(
    """
    WITH free AS (
        SELECT tenant_id, space_id, item_id FROM pending_embedding
        WHERE space_id = :space AND error_code IS NULL AND attempts BETWEEN :least AND :most
          AND (token IS NULL OR lease_until < now())
          AND EXISTS (SELECT FROM space JOIN encoder ON encoder.id = space.encoder_id
                      WHERE space.id = :space AND encoder.fingerprint = :fingerprint)
        ORDER BY item_id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE pending_embedding p
    SET token = :token, lease_until = now() + :lease, attempts = p.attempts + 1
    FROM free
    WHERE (p.tenant_id, p.space_id, p.item_id) = (free.tenant_id, free.space_id, free.item_id)
    RETURNING p.tenant_id, p.item_id, p.content_id
    """
)


def claim(
    connection: Connection,
    space_id: int,
    encoder_fingerprint: str,
    limit: int,
    lease: timedelta,
    *,
    tried: bool = False,
) -> EmbedBatch | None:
    """Take up to `limit` waiting items of a space, in one statement.

    None when nothing waits, the space is gone, or it is another encoder's. `tried` takes one item
    that was claimed before in vain, so that a bad one spoils no other; its process must hold
    nothing else until it has ended.
    """
    token = uuid4()
    rows = connection.execute(
        _CLAIM,
        {
            "space": space_id,
            "fingerprint": encoder_fingerprint,
            "limit": 1 if tried else limit,
            "token": token,
            "lease": lease,
            "least": 1 if tried else 0,
            "most": MAX_ATTEMPTS - 1 if tried else 0,
        },
    ).all()
    if not rows:
        return None
    items = tuple((row.item_id, row.content_id) for row in rows)
    return EmbedBatch(rows[0].tenant_id, space_id, token, items)


def hold(connection: Connection, batch: EmbedBatch, lease: timedelta) -> None:
    """Hold the items for another lease while their batch waits in line."""
    connection.execute(
        text(
            "UPDATE pending_embedding SET lease_until = now() + :lease"
            " WHERE space_id = :space AND token = :token"
        ),
        {"lease": lease, "space": batch.space_id, "token": batch.token},
    )


def commit(
    connection: Connection, batch: EmbedBatch, vectors: Mapping[int, Sequence[float]]
) -> int:
    """Store the vectors of items that this token still holds, by item id; give how many."""
    if not vectors:
        return 0
    items = list(vectors)
    return connection.execute(
        _COMMIT,
        {
            "space": batch.space_id,
            "token": batch.token,
            "items": items,
            "vectors": halves(connection, list(vectors.values())),
        },
    ).rowcount


_COMMIT = text(
    """
    WITH held AS (
        DELETE FROM pending_embedding WHERE space_id = :space AND token = :token
            AND item_id = ANY(CAST(:items AS bigint[]))
        RETURNING tenant_id, item_id, content_id
    )
    INSERT INTO embedding (tenant_id, space_id, item_id, content_id, vector)
    SELECT held.tenant_id, :space, held.item_id, held.content_id, given.vector
    FROM held JOIN unnest(CAST(:items AS bigint[]), CAST(:vectors AS halfvec[]))
        AS given (item_id, vector) USING (item_id)
    ON CONFLICT (tenant_id, space_id, item_id) DO UPDATE
    SET content_id = excluded.content_id, vector = excluded.vector
    """
)


def fail(connection: Connection, batch: EmbedBatch, failures: Mapping[int, ContentError]) -> None:
    """Record why items have no vector; a retryable failure waits again until its attempts end.

    Then it stays for RETRY_AFTER, and `retry` begins anew.
    """
    for item_id, failure in failures.items():
        connection.execute(
            text(
                "UPDATE pending_embedding SET token = NULL, lease_until = NULL,"
                " retryable = :retryable,"
                " error_code = CASE WHEN :retryable AND attempts < :attempts THEN NULL"
                " ELSE :code END,"
                " retry_at = CASE WHEN :retryable AND attempts >= :attempts"
                " THEN now() + :pause END"
                " WHERE space_id = :space AND token = :token AND item_id = :item"
            ),
            {
                "retryable": failure.retryable,
                "attempts": MAX_ATTEMPTS,
                "pause": RETRY_AFTER,
                "code": failure.code,
                "space": batch.space_id,
                "token": batch.token,
                "item": item_id,
            },
        )


def postpone(connection: Connection, batch: EmbedBatch) -> int:
    """Give items back because a server is away: no attempt is counted; give how many."""
    statement = text(
        "UPDATE pending_embedding SET token = NULL, lease_until = NULL,"
        " attempts = greatest(attempts - 1, 0) WHERE space_id = :space AND token = :token"
    )
    bind = {"space": batch.space_id, "token": batch.token}
    return connection.execute(statement, bind).rowcount


def retry(connection: Connection) -> int:
    """Let items wait again whose last failure may be over by now; give how many."""
    return connection.execute(
        text(
            "UPDATE pending_embedding SET error_code = NULL, attempts = 0, retry_at = NULL"
            " WHERE retry_at <= now()"
        )
    ).rowcount


def end_lost(connection: Connection) -> int:
    """Fail the items whose workers died three times in a row over them; give how many."""
    statement = text(
        "UPDATE pending_embedding SET error_code = 'worker_lost', token = NULL, lease_until = NULL"
        " WHERE error_code IS NULL AND attempts >= :attempts AND token IS NOT NULL"
        " AND lease_until < now()"
    )
    return connection.execute(statement, {"attempts": MAX_ATTEMPTS}).rowcount
